"""`fishtune pack`: the golden shard, determinism, nothing lost silently, nothing foreign destroyed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.cli.app import run as cli
from fishtune.core.errors import DataError, StopRequested, StorageError, UsageError
from fishtune.core.events import ItemFailed, Reporter
from fishtune.core.pack import run
from fishtune.core.packing.index import ShardIndex
from fishtune.core.packing.manifest import DropReason, PackResult, is_current, read_manifest
from fishtune.core.packing.text_data_pb2 import TextData
from fishtune.core.settings import PackSettings

from .recorder import Recorder


def pack(root: Path, reporter: Reporter | None = None, **options: object) -> PackResult:
    settings = {"input": root, "output": root / "protos", "num_workers": 1, **options}
    return run(PackSettings.model_validate(settings), reporter or Reporter())


def clip(root: Path, name: str, text: str = "hello", frames: int = 5, codebooks: int = 10) -> Path:
    """Write a clip's recording (empty: packing does not open it), transcript and codes."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".wav").write_bytes(b"")
    path.with_name(path.name + ".lab").write_text(text, encoding="utf-8")
    seed = sum(name.encode())
    np.save(f"{path}.npy", np.random.default_rng(seed).integers(0, 32, (codebooks, frames)))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("유나/첫 번째", "유나/둘", "Bob/b", "Bob/a"):
        clip(root, name)
    return root


def test_the_golden_data_makes_the_golden_shard(golden: Path, tmp_path: Path) -> None:
    result = pack(golden / "data", output=tmp_path / "protos")
    shard = (tmp_path / "protos" / "00000000.protos").read_bytes()
    expected = (golden / "protos" / "00000000.protos").read_bytes()

    def messages(stream: bytes) -> list[TextData]:
        found, position = [], 0
        while position < len(stream):
            end = position + 4 + int.from_bytes(stream[position : position + 4], "little")
            found.append(TextData.FromString(stream[position + 4 : end]))
            position = end
        return found

    assert messages(shard) == messages(expected)
    assert shard == expected
    assert (result.clips, result.sentences, result.shards, result.codebooks) == (3, 3, 1, 10)


def test_sentences_are_sorted_and_named(data: Path) -> None:
    result = pack(data)
    index = ShardIndex.open(data / "protos")
    names = [index.name(i) for i in range(len(index))]
    assert names == ["Bob/a", "Bob/b", "유나/둘", "유나/첫 번째"]
    for i, name in enumerate(names):
        assert (index.read(i).codes == np.load(data / f"{name}.npy")).all()
    assert [(total.speaker, total.sentences, total.frames) for total in result.speakers] == [
        ("Bob", 2, 10),
        ("유나", 2, 10),
    ]
    assert sum(result.columns.counts) == 4


def test_the_bytes_do_not_depend_on_workers_runs_or_the_folders_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fishtune.core import pack as module

    monkeypatch.setattr(module, "_CHUNK", 3)
    names = [f"S{i % 3}/clip {i}" for i in range(20)]
    for root, order in ((tmp_path / "one", names), (tmp_path / "two", names[::-1])):
        for name in order:
            clip(root, name, text=f"text {name}")
    pack(tmp_path / "one", num_workers=1, shard_size=700)
    pack(tmp_path / "two", num_workers=2, shard_size=700)

    def shards(root: Path) -> dict[str, bytes]:
        found = content(root / "protos")
        return {name: data for name, data in found.items() if name.endswith(".protos")}

    first = shards(tmp_path / "one")
    assert len(first) > 1
    assert shards(tmp_path / "two") == first
    pack(tmp_path / "one", num_workers=2, shard_size=700)
    assert shards(tmp_path / "one") == first


def test_every_dropped_clip_is_listed_and_the_counts_add_up(data: Path) -> None:
    clip(data, "Eve/left out")
    (clip(data, "Eve/no codes").with_suffix(".npy")).unlink()
    (clip(data, "Eve/no text").with_suffix(".lab")).unlink()
    clip(data, "Eve/only markup", text="{noise} <b> ")
    (clip(data, "Eve/latin1").with_suffix(".lab")).write_bytes("gr\xfc\xdfe".encode("latin-1"))
    (clip(data, "Eve/torn").with_suffix(".npy")).write_bytes(b"\x93NUMPY")
    clip(data, "Eve/old")
    os.utime(data / "Eve/old.npy", (1, 1))
    clip(data, "Eve/other codec", codebooks=8)
    (clip(data, "Eve/twice").with_suffix(".mp3")).write_bytes(b"")
    np.save(data / "Eve/out of range.npy", np.full((10, 3), -1))
    (data / "Eve/out of range.lab").write_text("x")
    recorder = Recorder()
    result = pack(data, recorder, exclude=["Eve/left out"])
    assert {loss.clip.removeprefix("Eve/"): loss.reason for loss in result.dropped} == {
        "left out": DropReason.EXCLUDED,
        "no codes": DropReason.NO_CODES,
        "no text": DropReason.NO_TEXT,
        "only markup": DropReason.EMPTY_TEXT,
        "latin1": DropReason.UNREADABLE_TEXT,
        "torn": DropReason.DAMAGED_CODES,
        "out of range": DropReason.DAMAGED_CODES,
        "old": DropReason.STALE_CODES,
        "other codec": DropReason.OTHER_CODEC,
        "twice": DropReason.SEVERAL_RECORDINGS,
    }
    assert result.clips == result.sentences + len(result.dropped) == 14
    failed = [event for event in recorder.events if isinstance(event, ItemFailed)]
    assert len(failed) == len(result.dropped) - 1  # leaving out was the person's own wish
    assert all(event.hint for event in failed)
    assert all(str(data) in event.message or event.item in event.message for event in failed)


def test_the_transcript_is_cleaned_and_a_byte_order_mark_is_no_word(tmp_path: Path) -> None:
    clip(tmp_path, "S/a")
    (tmp_path / "S/a.lab").write_bytes(b"\xef\xbb\xbf" + "it’s  {cough} so,,, nice 😀\r\n".encode())
    pack(tmp_path)
    assert ShardIndex.open(tmp_path / "protos").read(0).texts == ("it's so, nice",)


def test_when_nothing_can_be_packed_the_old_shards_stay(data: Path) -> None:
    pack(data)
    before = content(data / "protos")
    for path in data.rglob("*.npy"):
        path.unlink()
    with pytest.raises(DataError, match=r"None of the 4 clips .* can be packed: no codes \(4\)") as caught:
        pack(data)
    assert "fishtune extract" in caught.value.hint
    assert content(data / "protos") == before


def test_an_odd_first_clip_does_not_decide_for_all(data: Path) -> None:
    clip(data, "Al/first", codebooks=4)
    with pytest.raises(DataError, match="first.npy has 4 codebooks, but most codes have another number"):
        pack(data)


def test_foreign_files_in_the_output_are_refused_and_kept(data: Path) -> None:
    (data / "protos").mkdir()
    (data / "protos" / "00000000.protos").write_text("packed elsewhere")
    with pytest.raises(UsageError, match=r"did not write: 00000000\.protos"):
        pack(data)
    assert content(data / "protos") == {"00000000.protos": b"packed elsewhere"}
    with pytest.raises(UsageError, match=r"did not write: Bob, protos, 유나"):
        pack(data, output=data)
    (data / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        pack(data, output=data / "file")


def test_packing_again_replaces_everything_that_it_wrote(data: Path) -> None:
    for i in range(8):
        clip(data, f"More/{i}", frames=300)
        clip(data, f"Even more/{i}", frames=300)
    assert pack(data, shard_size=3000).shards == 3
    shutil.rmtree(data / "More")
    assert pack(data).shards == 1
    assert sorted(content(data / "protos")) == [
        "00000000.protos",
        "fishtune-index.bin",
        "fishtune-pack.json",
    ]
    assert [path.name for path in data.iterdir() if path.name.startswith(".")] == []


def test_up_to_date_means_the_same_files_and_settings(data: Path) -> None:
    settings = PackSettings(input=data, output=data / "protos", num_workers=1)
    assert not is_current(settings)
    run(settings, Reporter())
    assert is_current(settings)
    assert is_current(settings.model_copy(update={"num_workers": 2}))
    assert not is_current(settings.model_copy(update={"exclude": ["Bob/a"]}))
    (data / "Bob/a.lab").write_text("another text")
    assert not is_current(settings)
    run(settings, Reporter())
    (data / "protos" / "00000000.protos").write_bytes(b"torn")
    assert not is_current(settings)


def test_a_stopped_run_changes_nothing(data: Path) -> None:
    pack(data)
    before = content(data / "protos")
    clip(data, "New/x")
    reporter = Reporter()
    reporter.request_stop()
    with pytest.raises(StopRequested):
        pack(data, reporter)
    assert content(data / "protos") == before
    assert not list(data.glob(".fishtune*"))


def test_a_full_disk_leaves_the_old_shards(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(data)
    before = content(data / "protos")

    def full(path: Path) -> object:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    genuine = Path.open

    def opening(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        return (
            full(path) if path.suffix == ".protos" and "w" in mode else genuine(path, mode, *args, **options)
        )

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(StorageError, match="The disk is full"):
        pack(data)
    monkeypatch.undo()
    assert content(data / "protos") == before
    assert not list(data.glob(".fishtune*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from fishtune.core import files, pack
from fishtune.core.events import Reporter
from fishtune.core.settings import PackSettings
root, moment = Path(sys.argv[1]), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "writing":
    pack._read_back = die
else:
    genuine = Path.rename
    Path.rename = lambda self, target: (genuine(self, target), die())
pack.run(PackSettings(input=root, output=root / "protos", num_workers=1), Reporter())
"""


@pytest.mark.parametrize("moment", ["writing", "swapping"])
def test_killed_at_any_moment_it_leaves_the_old_shards_or_the_new(data: Path, moment: str) -> None:
    pack(data)
    before = content(data / "protos")
    clip(data, "New/x")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(data), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path for path in data.iterdir() if path.name.startswith(".fishtune-tmp")]
    assert left  # it was killed in the middle
    if moment == "writing":
        assert content(data / "protos") == before
    result = pack(data)
    assert result.sentences == 5
    assert len(ShardIndex.open(data / "protos")) == 5
    assert not list(data.glob(".fishtune-tmp*"))


def test_the_command_reports_what_went_in(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (clip(data, "Eve/[laugh]").with_suffix(".npy")).unlink()
    assert cli(["pack", "--input", "data", "--num-workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "left out: Eve/[laugh]: no codes" in printed
    assert "Packed 4 of 5 clips into 1 shard" in printed
    assert cli(["pack", "--input", "data", "--num-workers", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["sentences"], summary["dropped"][0]["reason"]) == (4, "no codes")
    assert cli(["pack", "--input", "nowhere"]) == 1
    assert "nowhere does not exist." in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    manifest = read_manifest(data / "protos")
    assert manifest is not None
    assert manifest.clips == ["Bob/a", "Bob/b", "유나/둘", "유나/첫 번째"]
