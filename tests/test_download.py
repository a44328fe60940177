"""Downloading from a server that speaks the hub's endpoints and has its troubles."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
from fishtune.core.cli.app import run as cli
from fishtune.core.config.presets import ModelPreset
from fishtune.core.config.settings import DownloadSettings
from fishtune.core.errors import DownloadError, StopRequested, StorageError, UsageError
from fishtune.core.events import Event, Progress, Reporter
from fishtune.core.hub import transfer
from fishtune.core.stages.download import run as download
from pydantic import ValidationError

from .hub_server import COMMIT, Hub, running_hub
from .recorder import Recorder

MODEL = bytes(range(256)) * 4000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # 10 MB at home
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    files = {
        "config.json": b'{"model_type": "dual_ar"}',
        "tokenizer.tiktoken": b"AA== 0\n",
        "special_tokens.json": b"{}",
        "model.pth": MODEL,
        "codec.pth": MODEL[::-1],
        "sample.wav": b"not needed",
    }
    with running_hub(Hub(files)) as hub:
        yield hub


def settings(hub: Hub, folder: Path, **other: Any) -> DownloadSettings:
    return DownloadSettings(name="openaudio-s1-mini", local_dir=folder, endpoint=hub.address, **other)


def log_in(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)


def test_only_the_needed_files_come_with_progress_and_the_revision_is_recorded(
    hub: Hub, tmp_path: Path
) -> None:
    reporter = Recorder()
    result = download.run(settings(hub, tmp_path / "S1 미니"), reporter)
    folder = tmp_path / "S1 미니"
    assert {path.name for path in folder.iterdir()} == set(hub.files) - {"sample.wav"} | {
        transfer.RECORD_FILE
    }
    assert all((folder / name).read_bytes() == hub.files[name] for name in result.downloaded)
    assert result.revision == COMMIT
    assert json.loads((folder / transfer.RECORD_FILE).read_text())["revision"] == COMMIT
    last = [e for e in reporter.events if isinstance(e, Progress) and e.task == "model.pth"][-1]
    assert (last.done, last.total, last.unit) == (len(MODEL), len(MODEL), "bytes")


def test_a_second_run_transfers_nothing(hub: Hub, tmp_path: Path) -> None:
    download.run(settings(hub, tmp_path), Reporter())
    hub.requests.clear()
    result = download.run(settings(hub, tmp_path), Reporter())
    assert result.downloaded == []
    assert {method for method, _, _ in hub.requests} == {"HEAD"}


def test_a_record_that_cannot_be_read_counts_for_nothing(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[" * 9999, b'{"repository": 5}', b"\xff"):
        (tmp_path / transfer.RECORD_FILE).write_bytes(content)
        assert transfer.read_record(tmp_path) is None
    (tmp_path / transfer.RECORD_FILE).unlink()
    os.mkfifo(tmp_path / transfer.RECORD_FILE)
    assert transfer.read_record(tmp_path) is None


def test_a_stopped_transfer_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    class StopsEarly(Recorder):
        def emit(self, event: Event) -> None:
            if isinstance(event, Progress) and event.task == "model.pth":
                self.request_stop()

    with pytest.raises(StopRequested, match="continues there"):
        download.run(settings(hub, tmp_path), StopsEarly())
    partial = next((tmp_path / transfer.PARTIAL_FOLDER).glob("model.pth.*"))
    arrived = partial.stat().st_size
    assert 0 < arrived < len(MODEL)
    hub.requests.clear()
    download.run(settings(hub, tmp_path), Reporter())
    assert (tmp_path / "model.pth").read_bytes() == MODEL
    ranges = [h["Range"] for _, path, h in hub.requests if path.endswith("model.pth") and "Range" in h]
    assert ranges[0].startswith(f"bytes={arrived}-")
    assert not (tmp_path / transfer.PARTIAL_FOLDER).exists()


def test_a_link_that_drops_is_picked_up_again_in_the_same_run(hub: Hub, tmp_path: Path) -> None:
    hub.break_after["codec.pth"] = [300_000, 200_000]
    download.run(settings(hub, tmp_path), Reporter())
    assert (tmp_path / "codec.pth").read_bytes() == hub.files["codec.pth"]


def test_the_token_never_reaches_the_storage_host(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated, hub.accepted_token = True, "hf_good"
    log_in(monkeypatch, "hf_good")
    download.run(settings(hub, tmp_path), Reporter())
    storage = [headers for _, path, headers in hub.requests if "/resolve/" not in path]
    assert storage
    assert all("Authorization" not in headers for headers in storage)
    assert "hf_good" not in (tmp_path / transfer.RECORD_FILE).read_text()


@pytest.mark.parametrize(
    ("token", "message", "hint"),
    [
        (
            None,
            "is gated: it needs an account that accepted its licence, and no token is set",
            "hf auth login",
        ),
        ("hf_good", "Your account may not read fishaudio/openaudio-s1-mini yet", "accept the licence"),
        ("hf_bad", "or your token is not valid", "hf auth login"),
    ],
)
def test_each_refusal_of_a_gated_repository_has_its_own_message(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    message: str,
    hint: str,
) -> None:
    hub.gated, hub.accepted_token = True, "hf_other"
    if token:
        log_in(monkeypatch, token)
    with pytest.raises(DownloadError) as caught:
        download.run(settings(hub, tmp_path), Reporter())
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_unknown_repository_revision_or_file_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="has no such revision"):
        download.run(settings(hub, tmp_path, revision="nowhere"), Reporter())
    del hub.files["codec.pth"]
    with pytest.raises(DownloadError, match="has no file codec.pth"):
        download.run(settings(hub, tmp_path), Reporter())
    hub.exists = False
    with pytest.raises(DownloadError, match="The hub does not know fishaudio/openaudio-s1-mini"):
        download.run(settings(hub, tmp_path), Reporter())


def test_a_base_without_special_tokens_is_complete(hub: Hub, tmp_path: Path) -> None:
    del hub.files["special_tokens.json"]
    assert "special_tokens.json" not in download.run(settings(hub, tmp_path), Reporter()).downloaded


def test_no_network_says_so_and_keeps_what_is_there(tmp_path: Path, hub: Hub) -> None:
    download.run(settings(hub, tmp_path), Reporter())
    away = DownloadSettings(name="openaudio-s1-mini", local_dir=tmp_path, endpoint="http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="The hub cannot be reached") as caught:
        download.run(away, Reporter())
    assert "what has arrived is kept" in caught.value.hint
    assert (tmp_path / "model.pth").read_bytes() == MODEL


def test_the_offline_switch_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        download.run(settings(hub, tmp_path), Reporter())


def test_a_server_in_trouble_is_told_from_our_mistake(hub: Hub, tmp_path: Path) -> None:
    hub.status = 503
    with pytest.raises(DownloadError, match="answered 503") as caught:
        download.run(settings(hub, tmp_path), Reporter())
    assert "server's trouble" in caught.value.hint


def test_damaged_content_never_takes_the_files_name(hub: Hub, tmp_path: Path) -> None:
    hub.corrupt.add("model.pth")
    with pytest.raises(DownloadError, match="model.pth arrived damaged"):
        download.run(settings(hub, tmp_path), Reporter())
    assert not (tmp_path / "model.pth").exists()


def test_a_file_of_the_persons_own_is_never_replaced(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"my own merged weights")
    with pytest.raises(DownloadError, match="it is not the hub's file"):
        download.run(settings(hub, tmp_path), Reporter())
    assert (tmp_path / "model.pth").read_bytes() == b"my own merged weights"


def test_files_copied_by_hand_are_checked_and_adopted(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(MODEL)
    assert "model.pth" in download.run(settings(hub, tmp_path), Reporter()).present


def test_a_newer_revision_replaces_what_we_downloaded(hub: Hub, tmp_path: Path) -> None:
    download.run(settings(hub, tmp_path), Reporter())
    hub.files["model.pth"] = MODEL[1:] + b"x"
    assert download.run(settings(hub, tmp_path), Reporter()).downloaded == ["model.pth"]
    assert (tmp_path / "model.pth").read_bytes() == hub.files["model.pth"]


def test_a_disk_without_room_is_refused_before_the_transfer(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(StorageError, match="are still to come"):
        download.run(settings(hub, tmp_path), Reporter())


def test_a_folder_of_another_model_is_refused(hub: Hub, tmp_path: Path) -> None:
    download.run(settings(hub, tmp_path), Reporter())
    other = DownloadSettings(name="somebody/else", local_dir=tmp_path, endpoint=hub.address)
    with pytest.raises(DownloadError, match="holds fishaudio/openaudio-s1-mini, not somebody/else"):
        download.run(other, Reporter())


def test_a_name_that_is_neither_preset_nor_repository_lists_the_presets() -> None:
    with pytest.raises(UsageError, match="Did you mean openaudio-s1-mini") as caught:
        download.resolve_model("openaudio-s1-min")
    assert "openaudio-s1-mini" in caught.value.hint
    with pytest.raises(UsageError, match="not a hub repository"):
        download.resolve_model("a/b/c")


def test_a_token_without_the_right_to_gated_repositories_is_told_which_box_to_tick(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.status, hub.message = (
        403,
        (
            "Please enable access to public gated repositories in your fine-grained token settings to view "
            "this repository."
        ),
    )
    log_in(monkeypatch, "hf_good")
    with pytest.raises(DownloadError) as caught:
        download.run(settings(hub, tmp_path), Reporter())
    assert hub.message in caught.value.message
    assert "Read access to contents of all public gated repos" in caught.value.hint
    assert "https://huggingface.co/settings/tokens" in caught.value.hint


@pytest.mark.parametrize(("status", "hint"), [(429, "Too many requests"), (500, "server's trouble")])
def test_the_hubs_own_message_is_shown(hub: Hub, tmp_path: Path, status: int, hint: str) -> None:
    hub.status, hub.message = status, "We are moving house."
    with pytest.raises(DownloadError) as caught:
        download.run(settings(hub, tmp_path), Reporter())
    assert "The hub says: We are moving house." in caught.value.message
    assert hint in caught.value.hint


def test_a_token_that_a_server_echoes_is_shown_nowhere(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hf_abcdefghijklmnopqrst"
    log_in(monkeypatch, secret)
    hub.status, hub.message = 403, f"Token {secret} at https://me:{secret}@mirror is not welcome"
    with pytest.raises(DownloadError) as caught:
        download.run(settings(hub, tmp_path), Reporter())
    trace = "".join(traceback.format_exception(caught.value))
    assert secret not in trace + caught.value.message + caught.value.hint


def test_a_body_without_end_stops_at_the_stated_size(hub: Hub, tmp_path: Path) -> None:
    hub.endless.add("codec.pth")
    with pytest.raises(DownloadError, match=r"sends more of codec\.pth than it said"):
        download.run(settings(hub, tmp_path), Reporter())
    partial = next((tmp_path / transfer.PARTIAL_FOLDER).glob("codec.pth.*"))
    assert partial.stat().st_size <= len(hub.files["codec.pth"])


def test_a_file_in_a_folder_is_continued_too(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["sub/model.pth"] = MODEL
    preset = ModelPreset(description="", repository="a/b", licence="", files=["config.json", "sub/model.pth"])
    monkeypatch.setattr(download, "resolve_model", lambda _: preset)

    class StopsEarly(Recorder):
        def emit(self, event: Event) -> None:
            if isinstance(event, Progress) and event.task == "sub/model.pth":
                self.request_stop()

    with pytest.raises(StopRequested):
        download.run(settings(hub, tmp_path), StopsEarly())
    (partial,) = (tmp_path / transfer.PARTIAL_FOLDER).iterdir()
    assert partial.stat().st_size > 0
    download.run(settings(hub, tmp_path), Reporter())
    assert (tmp_path / "sub" / "model.pth").read_bytes() == MODEL


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\b", "", ".fishtune-download.json"])
def test_a_preset_cannot_name_files_outside_of_the_models_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="a path inside the model's folder"):
        ModelPreset(description="", repository="a/b", licence="", files=[name])


def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.files["config.json"] = b'{"model_type": "llama"}'
    wanted = DownloadSettings(name="fishaudio/other", local_dir=tmp_path, endpoint=hub.address)
    with pytest.raises(DownloadError, match="a model of the type 'llama'") as caught:
        download.run(wanted, Reporter())
    assert "S1 family" in caught.value.hint
    assert not any(path.endswith(".pth") and method == "GET" for method, path, _ in hub.requests)


def test_an_unsupported_model_is_told_what_is_supported() -> None:
    with pytest.raises(UsageError, match="There is no model preset 's3-pro'") as caught:
        download.resolve_model("s3-pro")
    assert "openaudio-s1-mini" in caught.value.hint and "S1 family" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["x/..", "../x", "..", "a/b/c", "~nobody/x", "x/", "/x", "a b", "-x", "x/-y"]
)
def test_a_name_that_leads_elsewhere_is_neither_preset_nor_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(["download", "--", name]) == 2
    assert "is neither a model preset nor a hub repository, owner/name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


S2 = {
    "config.json": b'{"model_type": "fish_qwen3_omni"}',
    "model.safetensors.index.json": b'{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}',
    "one.safetensors": MODEL,
    "two.safetensors": MODEL[::-1],
    "codec.pth": MODEL[:5000],
    "tokenizer.json": b"{}",
    "LICENSE.md": b"Ask.",
    "overview.png": b"not needed",
}


@pytest.mark.parametrize("token", [None, "hf_good"])
def test_s2_pro_is_fetched_with_and_without_a_token_and_what_it_lacks_is_left_out(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    hub.files = {**S2, **dict.fromkeys(shards, MODEL)}
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    hub.gated, hub.accepted_token = token is not None, token
    wanted = DownloadSettings(name="s2-pro", local_dir=tmp_path, endpoint=hub.address)
    result = download.run(wanted, Reporter())
    expected = set(hub.files) - {"overview.png", "one.safetensors", "two.safetensors"}
    assert set(result.downloaded) == expected
    assert json.loads((tmp_path / transfer.RECORD_FILE).read_text())["licence"].startswith("Fish Audio")


def test_of_another_s2_model_the_shards_come_that_its_index_names(hub: Hub, tmp_path: Path) -> None:
    hub.files = dict(S2)
    wanted = DownloadSettings(name="somebody/s2-tuned", local_dir=tmp_path, endpoint=hub.address)
    result = download.run(wanted, Reporter())
    assert sorted(result.downloaded) == sorted(set(S2) - {"overview.png"})
    assert result.bytes == sum(len(S2[name]) for name in result.downloaded)
    assert download.run(wanted, Reporter()).downloaded == []
