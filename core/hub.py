"""What we ask of the model hub, and what its refusals mean in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import DownloadError

OPTIONAL_FILES = {"special_tokens.json"}  # formats.md section 1: the default list applies without it


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub: size in bytes if the server tells it, ETag = its hash."""

    name: str
    url: str
    etag: str
    size: int | None


def remote_files(
    repository: str, names: list[str], *, revision: str | None, endpoint: str | None
) -> tuple[list[RemoteFile], str]:
    """Ask the hub for `names`; return them, all of one commit, and that commit.

    A file of `OPTIONAL_FILES` that the repository lacks is left out.

    Raises:
        DownloadError: see `hub_errors`; or a file is missing, or the server is no hub.
    """
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    token = huggingface_hub.get_token()
    files: list[RemoteFile] = []
    with hub_errors(repository, has_token=token is not None):
        for name in names:
            url = huggingface_hub.hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
            try:
                metadata = huggingface_hub.get_hf_file_metadata(url, token=token, endpoint=endpoint)
            except RemoteEntryNotFoundError as error:
                if name in OPTIONAL_FILES:
                    continue
                raise DownloadError(
                    f"{repository} has no file {name}.",
                    "It is not an S1-family model, or another --revision holds it.",
                ) from error
            if metadata.commit_hash is None or metadata.etag is None:
                raise DownloadError(
                    f"The server at {urlsplit(url).netloc} does not answer like the model hub.",
                    "Check HF_ENDPOINT and your proxy.",
                )
            revision = metadata.commit_hash  # the rest comes from the very same commit
            url = huggingface_hub.hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
            files.append(RemoteFile(name, url, metadata.etag, metadata.size))
    assert revision is not None, "config.json is not optional, so a commit is known"
    return files, revision


@contextmanager
def hub_errors(repository: str, *, has_token: bool) -> Iterator[None]:
    """Turn what the hub and the network answer into errors that say what to do."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{repository}"
    try:
        yield
    except GatedRepoError as error:
        if has_token:
            raise DownloadError(
                f"Your account may not read {repository} yet: its licence is not accepted.",
                f"Open {page}, accept the licence with the account of your token, and try again.",
            ) from error
        raise DownloadError(
            f"{repository} is gated: it needs an account that accepted its licence, and no token is set.",
            f"Accept the licence at {page}, make a read token at https://huggingface.co/settings/tokens, "
            "and give it with: hf auth login (or the variable HF_TOKEN).",
        ) from error
    except RepositoryNotFoundError as error:
        if has_token:
            raise DownloadError(
                f"The hub does not know {repository}, or your token is not valid (any more).",
                "Check the name, and log in again with: hf auth login",
            ) from error
        raise DownloadError(
            f"The hub does not know {repository}, or shows it to logged-in accounts only.",
            "Check the name; for a private repository give a token with: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise DownloadError(
            f"{repository} has no such revision.", "Check --revision, or leave it out for the newest."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        raise DownloadError(
            f"The hub answered {status} for {repository}.",
            "Your token is not valid: log in again with: hf auth login"
            if status in (401, 403)
            else "That is the server's trouble: try again later; what has arrived is kept.",
        ) from error
    except OfflineModeIsEnabled as error:
        raise DownloadError(
            "The hub is switched off by HF_HUB_OFFLINE.", "Unset that variable to download."
        ) from error
    except httpx2.HTTPError as error:
        raise DownloadError(
            f"The hub cannot be reached: {str(error) or type(error).__name__}.",
            "Check the network and proxy (HTTPS_PROXY), then run the command again; "
            "what has arrived is kept. On a machine without network, copy the files there by hand.",
        ) from error
