"""What we ask of the model hub, and what its refusals mean in plain words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import DownloadError
from ..messages import NOTHING, Message, joined
from ..redact import HIDDEN, redacted

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_LONGEST_REPLY = 300
"""Characters of a server's message that are shown."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub: size in bytes if the server tells it, ETag = its hash."""

    name: str
    url: str
    etag: str
    size: int | None


def remote_files(
    repository: str,
    names: list[str],
    *,
    optional: Collection[str] = (),
    revision: str | None,
    endpoint: str | None,
) -> tuple[list[RemoteFile], str]:
    """Ask the hub for `names`; return them, all of one commit, and that commit.

    Args:
        optional: those of them that a repository may lack.

    Raises:
        DownloadError: see `hub_errors`; or a file is missing, or the server is no hub.
    """
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    token = huggingface_hub.get_token()
    files: list[RemoteFile] = []
    with hub_errors(repository, token=token):
        for name in names:
            url = huggingface_hub.hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
            try:
                metadata = huggingface_hub.get_hf_file_metadata(url, token=token, endpoint=endpoint)
            except RemoteEntryNotFoundError as error:
                if name in optional:
                    continue
                raise DownloadError(
                    "{repository} has no file {name}.",
                    "It may be another kind of model, or another --revision holds the file.",
                    repository=repository,
                    name=name,
                ) from error
            if metadata.commit_hash is None or metadata.etag is None:
                raise DownloadError(
                    "The server at {hostname} does not answer like the model hub.",
                    "Check HF_ENDPOINT and your proxy; some networks want a login in a browser first.",
                    hostname=urlsplit(url).hostname,
                )
            revision = metadata.commit_hash  # the rest comes from the very same commit
            url = huggingface_hub.hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
            files.append(RemoteFile(name, url, metadata.etag, metadata.size))
    assert revision is not None, "not all files are optional, so a commit is known"
    return files, revision


def _without(text: str, token: str | None) -> str:
    """Return what a server said without the token, which servers like to echo, and without other secrets."""
    return redacted(text.replace(token, HIDDEN) if token else text)


@contextmanager
def hub_errors(repository: str, *, token: str | None) -> Iterator[None]:
    """Turn what the hub and the network answer into errors that say what to do.

    The server's own message is shown. What goes to the log is redacted, too.

    Args:
        token: the one that requests carry, None where nobody is logged in.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        _redact_all(error, token)
        raise _refusal(repository, error, token) from error
    except OfflineModeIsEnabled as error:
        raise DownloadError(
            "The hub is switched off by HF_HUB_OFFLINE.", "Unset that variable to download."
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        _redact_all(error, token)
        raise DownloadError(
            "The hub cannot be reached: {reason}.",
            "Check the network and proxy (HTTPS_PROXY), then run the command again; "
            "what has arrived is kept. On a machine without network, copy the files there by hand.",
            reason=_of_the_system(error) or str(error) or type(error).__name__,
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, each once: causes may lead in a circle."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_the_system(error: BaseException) -> OSError | None:
    """Return the error of the system that a failed connection came from, if one is among its causes."""
    refused = (cause for cause in _causes(error) if isinstance(cause, OSError) and cause.errno is not None)
    return next(refused, None)


def _redact_all(error: BaseException, token: str | None) -> None:
    for cause in _causes(error):
        cause.args = tuple(_without(part, token) if isinstance(part, str) else part for part in cause.args)


def _refusal(repository: str, error: HfHubHTTPError, token: str | None) -> DownloadError:
    reply = _without(" ".join((error.server_message or "").split()), token)[:_LONGEST_REPLY]
    refusal = _explained(repository, error, token, reply)
    said = Message("The hub says: {reply}", reply=reply) if reply else NOTHING
    return DownloadError(joined([refusal.message, said]), refusal.hint)


def _explained(repository: str, error: HfHubHTTPError, token: str | None, reply: str) -> DownloadError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{repository}"
    tokens = "https://huggingface.co/settings/tokens"
    status = error.response.status_code if error.response is not None else 0
    if "fine-grained" in reply:
        return DownloadError(
            "Your token may not read gated repositories such as {repository}.",
            "Open {tokens}, edit the token, and tick “Read access to contents of all public "
            "gated repos you can access”; or make a token of the kind “Read”.",
            repository=repository,
            tokens=tokens,
        )
    if "Invalid credentials" in reply or (
        status == 401 and token and not error.response.headers.get("X-Error-Code")
    ):
        return DownloadError(
            "The hub refuses your token for {repository}: it is not valid (any more), or your "
            "token is not valid for this server.",
            "Make a new one at {tokens} and log in with: hf auth login",
            repository=repository,
            tokens=tokens,
        )
    if isinstance(error, GatedRepoError) and token:
        return DownloadError(
            "Your account may not read {repository} yet: its licence is not accepted.",
            "Open {page}, accept the licence with the account of your token, and try again.",
            repository=repository,
            page=page,
        )
    if isinstance(error, GatedRepoError):
        return DownloadError(
            "{repository} is gated: it needs an account that accepted its licence, and no token is set.",
            "Accept the licence at {page}, make a read token at {tokens}, and give it with: hf "
            "auth login (or the variable HF_TOKEN).",
            repository=repository,
            page=page,
            tokens=tokens,
        )
    if isinstance(error, RepositoryNotFoundError) and token:
        return DownloadError(
            "The hub does not know {repository}, or your token may not see it.",
            "Check the name, and log in again with: hf auth login",
            repository=repository,
        )
    if isinstance(error, RepositoryNotFoundError):
        return DownloadError(
            "The hub does not know {repository}, or shows it to logged-in accounts only.",
            "Check the name; for a private repository give a token with: hf auth login",
            repository=repository,
        )
    if isinstance(error, RevisionNotFoundError):
        return DownloadError(
            "{repository} has no such revision.",
            "Check --revision, or leave it out for the newest.",
            repository=repository,
        )
    answered = Message(
        "The hub answered {status} for {repository}.",
        status=status or Message("nothing"),
        repository=repository,
    )
    match status:
        case 401 | 403 if token:
            return DownloadError(
                answered,
                "Your token may not read it: look at its permissions at {tokens}, or log in again.",
                tokens=tokens,
            )
        case 401 | 403:
            return DownloadError(answered, "Log in with: hf auth login (or set HF_TOKEN).")
        case 429:
            wait = error.response.headers.get("Retry-After", "") if error.response is not None else ""
            wait = Message("in {wait} s", wait=wait) if wait.isdigit() else Message("in a few minutes")
            return DownloadError(
                answered,
                "Too many requests from this address: try again {wait}; what has arrived is kept.",
                wait=wait,
            )
    return DownloadError(answered, "That is the server's trouble: try again later; what has arrived is kept.")
