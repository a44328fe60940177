"""`fishtune pack`: the golden shard, determinism, nothing lost silently, nothing foreign destroyed."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as cli
from fishtune.core.config.settings import PackSettings
from fishtune.core.dataset import origins as origins_module
from fishtune.core.dataset.codes import codes_digest
from fishtune.core.dataset.layout import scan
from fishtune.core.dataset.origins import FileState, Origin, append_origins, content_digest
from fishtune.core.dataset.usage import DropReason
from fishtune.core.errors import DataError, ShardError, StopRequested, StorageError, UsageError
from fishtune.core.events import ItemFailed, Reporter, Warned
from fishtune.core.shards import wire
from fishtune.core.shards.index import ShardIndex
from fishtune.core.shards.manifest import INDEX_FILE, PackResult, is_current, read_manifest
from fishtune.core.shards.text_data_pb2 import TextData
from fishtune.core.stages.pack.run import run

from .recorder import Recorder


def pack(root: Path, reporter: Reporter | None = None, **options: object) -> PackResult:
    settings = {"input": root, "output": root / "protos", "num_workers": 1, **options}
    return run(PackSettings.model_validate(settings), reporter or Reporter())


def clip(root: Path, name: str, text: str = "hello", frames: int = 5, codebooks: int = 10) -> Path:
    """Write a clip's recording (packing opens only those without codes), transcript and codes."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path.with_name(path.name + ".wav"), np.zeros(800), 8000)
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
    from fishtune.core.stages.pack import run as module

    monkeypatch.setattr(module, "_CHUNK", 3)
    monkeypatch.setattr(module, "_WORTH_STARTING", 0)
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
    for name in ("no codes", "too long", "no recording", "unreadable"):
        (clip(data, f"Eve/{name}").with_suffix(".npy")).unlink()
    soundfile.write(data / "Eve/too long.wav", np.zeros(191 * 8000), 8000)
    (data / "Eve/no recording.wav").unlink()
    (data / "Eve/unreadable.wav").write_bytes(b"RIFF")
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
        "too long": DropReason.TOO_LONG,
        "no recording": DropReason.NO_RECORDING,
        "unreadable": DropReason.UNREADABLE_RECORDING,
        "no text": DropReason.NO_TEXT,
        "only markup": DropReason.EMPTY_TEXT,
        "latin1": DropReason.UNREADABLE_TEXT,
        "torn": DropReason.DAMAGED_CODES,
        "out of range": DropReason.DAMAGED_CODES,
        "old": DropReason.STALE_CODES,
        "other codec": DropReason.OTHER_CODEC,
        "twice": DropReason.SEVERAL_RECORDINGS,
    }
    assert result.clips == result.sentences + len(result.dropped) == 17
    assert (result.usage.clips, result.usage.used) == (17, 4)
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
    assert pack(data, allow_fewer=True).shards == 1
    assert sorted(content(data / "protos")) == [
        "00000000.protos",
        "fishtune-index.bin",
        "fishtune-pack.json",
    ]
    assert [path.name for path in data.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("left", [3, 5, 9])
def test_much_fewer_clips_replace_the_old_shards_only_when_it_is_asked_for(tmp_path: Path, left: int) -> None:
    for i in range(12):
        clip(tmp_path, f"S{i % 3}/{i}")
    pack(tmp_path)
    before = content(tmp_path / "protos")
    lost = sorted(tmp_path.rglob("*.npy"))[left:]
    for path in lost:
        path.unlink()
    message = rf"hold 12 clips, the new ones would hold {left}, so the old .*: no codes \({12 - left}\)"
    with pytest.raises(UsageError, match=message) as caught:
        pack(tmp_path)
    assert "--allow-fewer" in caught.value.hint
    assert content(tmp_path / "protos") == before
    assert pack(tmp_path, allow_fewer=True).sentences == left


def test_a_speaker_that_is_gone_needs_the_persons_word_too(data: Path) -> None:
    pack(data)
    shutil.rmtree(data / "유나")
    with pytest.raises(UsageError, match="hold 4 clips, but .* now has 2, so the old ones were kept"):
        pack(data)


def test_a_few_clips_less_and_clips_that_are_left_out_need_no_word(tmp_path: Path) -> None:
    for i in range(10):
        clip(tmp_path, f"S/{i}")
    pack(tmp_path)
    for i in range(2):
        (tmp_path / f"S/{i}.npy").unlink()
    assert pack(tmp_path).sentences == 8
    assert pack(tmp_path, exclude=[f"S/{i}" for i in range(2, 8)]).sentences == 2


REFUSALS = [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOMEM]


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("name", ["b.npy", "b.lab", ".fishtune-codes"])
def test_what_the_system_refuses_to_read_ends_packing_and_leaves_the_old_shards(
    data: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    if name == ".fishtune-codes":
        append_origins(data / "Bob", [("b.npy", Origin(FileState(0, 0, 0), "", ""))])
    pack(data)
    before = content(data / "protos")
    opened = os.open

    def refuse(path: object, *arguments: object, **keywords: object) -> int:
        if str(path).endswith(f"Bob/{name}"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *arguments, **keywords)  # type: ignore[arg-type]

    origins_module._read.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StorageError, match=f"{name} cannot be read"):
            pack(data)
    assert content(data / "protos") == before


def test_a_folder_that_cannot_be_listed_ends_packing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(data)
    before = content(data / "protos")
    listed = os.scandir

    def refuse(path: object = ".") -> object:
        if str(path).endswith("Bob"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="The folder .*Bob cannot be read"):
        pack(data)
    monkeypatch.undo()
    assert content(data / "protos") == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: np.save(path, np.zeros((80, 120), "f4")),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\0v\0{'descr': '<i8', 'fortran_order': False, 'shape"),
        lambda path: path.write_bytes(b"\x93NUMPY\x03\0\0\0\0\x7f" + b"\xff" * 100),
        lambda path: path.write_bytes(
            b"\x93NUMPY\x01\0\x3f\0{'descr': '<i8', 'fortran_order': False, 'shape': (10, -200), }"
            + bytes(900)
        ),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
    ],
)
def test_one_bad_code_file_costs_the_others_nothing(data: Path, damage: Callable[[Path], object]) -> None:
    damage(data / "Bob/b.npy")
    result = pack(data)
    assert (result.sentences, [loss.clip for loss in result.dropped]) == (3, ["Bob/b"])
    assert str(data / "Bob/b.npy") in result.dropped[0].what
    assert result.dropped[0].what_to_do


def _recorded(data: Path) -> None:
    """Write what extraction would have remembered."""
    for codes in data.rglob("*.npy"):
        audio = codes.with_suffix(".wav")
        audio.write_bytes(codes.stem.encode() * 100)
        origin = Origin(FileState.of(audio), content_digest(audio), codes_digest(np.load(codes)))
        append_origins(codes.parent, [(codes.name, origin)])


def test_codes_of_a_copied_or_wrongly_dated_recording_are_packed(data: Path) -> None:
    _recorded(data)
    for moment in (time.time() + 10**8, time.time() - 1, 1):
        for audio in data.rglob("*.wav"):
            os.utime(audio, (moment, moment))
        for codes in data.rglob("*.npy"):
            os.utime(codes, (1000, 1000))
        assert pack(data).dropped == []


def test_codes_of_a_changed_recording_are_not_packed_whatever_its_time(data: Path) -> None:
    _recorded(data)
    audio = data / "Bob/b.wav"
    audio.write_bytes(audio.read_bytes()[::-1] + b"b")
    state = audio.stat()
    audio.write_bytes(b"c" * state.st_size)
    os.utime(audio, (1, 1))
    (loss,) = pack(data).dropped
    assert (loss.clip, loss.reason) == ("Bob/b", DropReason.STALE_CODES)
    assert "was made from another recording than b.wav is now" in loss.what


def test_a_file_in_the_output_is_not_ours_for_its_name(data: Path) -> None:
    pack(data)
    (data / "protos" / "fishtune-notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"did not write: fishtune-notes\.txt"):
        pack(data)
    assert (data / "protos" / "fishtune-notes.txt").read_text() == "mine"


def test_a_damaged_record_makes_nobody_the_owner_of_the_shards(data: Path) -> None:
    pack(data)
    manifest = data / "protos" / "fishtune-pack.json"
    manifest.write_text(manifest.read_text().replace("Bob", "Rob"))
    before = content(data / "protos")
    with pytest.raises(UsageError, match=r"fishtune-pack\.json is damaged or of another version"):
        pack(data)
    assert content(data / "protos") == before


def test_the_working_folder_is_no_output(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = data.parent / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for output in (".", "", "..", str(empty), "../empty"):
        with pytest.raises(UsageError, match="is the working folder or around it"):
            pack(data, output=Path(output))


def test_a_linked_output_stays_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (data / "protos").symlink_to(tmp_path / "disk")
    pack(data)
    pack(data)
    assert (data / "protos").is_symlink()
    assert (tmp_path / "disk" / "00000000.protos").is_file()


def test_two_runs_give_the_same_bytes_index_included(data: Path) -> None:
    pack(data)
    first = content(data / "protos")
    for path in data.rglob("*.npy"):
        os.utime(path, (2 * 10**9, 2 * 10**9))
    pack(data)
    second = content(data / "protos")
    assert second.pop("fishtune-pack.json") != first.pop("fishtune-pack.json")  # it names the files' times
    assert second == first


def test_the_index_is_the_one_that_reading_the_shards_makes(tmp_path: Path) -> None:
    for i in range(30):
        clip(tmp_path / "data", f"S{i % 3}/clip {i}", text=f"text {i} 첫", frames=3 + i)
    pack(tmp_path / "data", shard_size=700)
    index = tmp_path / "data/protos" / INDEX_FILE
    packed = index.read_bytes()
    index.unlink()
    assert len(ShardIndex.open(tmp_path / "data/protos")) == 30
    assert index.read_bytes() == packed


def test_a_shard_that_is_not_what_was_written_ends_packing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(data)
    before = content(data / "protos")
    genuine = wire.ShardWriter.__exit__

    def losing_a_bit(writer: wire.ShardWriter, *error: Any) -> None:
        genuine(writer, *error)
        found = bytearray(writer.paths[0].read_bytes())
        found[-1] ^= 1
        writer.paths[0].write_bytes(found)

    monkeypatch.setattr(wire.ShardWriter, "__exit__", losing_a_bit)
    with pytest.raises(ShardError, match=r"00000000\.protos cannot be read back as it was written"):
        pack(data)
    assert content(data / "protos") == before


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
from fishtune.core import files
from fishtune.core.stages.pack import run as pack
from fishtune.core.events import Reporter
from fishtune.core.config.settings import PackSettings
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


def test_a_folder_inside_a_speakers_is_packed_as_that_speakers(data: Path) -> None:
    clip(data, "유나/책 1/하나")
    result = pack(data, exclude=["유나/둘"])
    index = ShardIndex.open(data / "protos")
    assert [index.name(i) for i in range(len(index))] == ["Bob/a", "Bob/b", "유나/책 1/하나", "유나/첫 번째"]
    assert index.speakers == ["Bob", "유나"]
    assert [(total.speaker, total.sentences, total.dropped) for total in result.speakers] == [
        ("Bob", 2, 0),
        ("유나", 2, 1),
    ]
    assert pack(data, exclude=["유나/책 1/하나", "유나/둘"]).sentences == 3


def test_what_is_not_a_clip_is_said_and_is_in_the_result(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip(data, "Bob/day/take/b")
    (data / "self").symlink_to("self")
    os.mkfifo(data / "Bob" / "c.lab")
    recorder = Recorder()
    result = pack(data, recorder)
    assert result.sentences == 4
    assert [finding.path for finding in result.left_out] == [data / "self", data / "Bob/c.lab", data / "Bob"]
    said = [event.message for event in recorder.events if isinstance(event, Warned)]
    assert said == [finding.what for finding in result.left_out]
    assert cli(["pack", "--input", str(data)]) == 0
    assert "left out: " in capsys.readouterr().out
    assert is_current(PackSettings(input=data, output=data / "protos", num_workers=1))


@pytest.mark.parametrize("extension", [".txt", ".normalized.txt"])
def test_transcripts_of_another_extension_have_the_same_next_step_as_in_validation(
    tmp_path: Path, extension: str
) -> None:
    path = clip(tmp_path / "data", "S/a")
    path.with_name("a.lab").rename(path.with_name("a" + extension))
    with pytest.raises(DataError, match="The clip in .* cannot be packed") as caught:
        pack(tmp_path / "data")
    (problem,) = scan(tmp_path / "data").problems
    assert caught.value.hint == problem.what_to_do
    assert f"--text-extension {extension} " in problem.what_to_do
    assert pack(tmp_path / "data", text_extension=extension).sentences == 1


def test_a_clip_whose_words_are_in_a_table_has_the_command_as_its_next_step(data: Path) -> None:
    (data / "Bob/a.lab").unlink()
    (data / "Bob/metadata.csv").write_text("a|words")
    (loss,) = pack(data).dropped
    assert (loss.clip, loss.reason) == ("Bob/a", DropReason.NO_TEXT)
    assert f"fishtune prepare {shlex.quote(str(data))} " in loss.what_to_do


def test_what_to_do_about_many_clips_is_said_once(data: Path) -> None:
    (data / "metadata.csv").write_text("w1|One.\nw2|Two.\nw3|Three.\n", encoding="utf-8")
    for name in ("w1", "w2", "w3"):
        clip(data, f"wavs/{name}")
        (data / f"wavs/{name}.lab").unlink()
    recorder = Recorder()
    result = pack(data, recorder)
    hints = [event.hint for event in recorder.events if isinstance(event, ItemFailed)]
    assert len(hints) == 3
    assert f"fishtune prepare {shlex.quote(str(data))} " in hints[0]
    assert hints[1:] == ["", ""]
    assert {loss.what_to_do for loss in result.dropped} == {hints[0]}


@pytest.mark.parametrize("output", [".", "..", "/", "data", "data/..", "link"])
def test_an_output_that_is_or_holds_what_must_stay_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    work = data.parent / "work"
    (work / "empty").mkdir(parents=True)
    shutil.copytree(data, work / "data")
    (work / "link").symlink_to("data")
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))
    assert cli(["pack", "--input", "data", "--output", output]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert sorted(work.rglob("*")) == before
    monkeypatch.chdir(work / "empty")  # nothing in it, and yet it is where the person is
    assert cli(["pack", "--input", "../data", "--output", "."]) == 2
    assert "the working folder" in capsys.readouterr().err
    assert (work / "empty").is_dir()
