"""Writes are whole or not at all, and trouble with the disk has a name."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fishtune.core import files
from fishtune.core.errors import DataError, StorageError
from fishtune.core.owned import open_own
from fishtune.core.reading import open_regular, reading


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "이름 with space.npy"
    files.write_bytes(target, b"old")
    with pytest.raises(RuntimeError), files.atomic_open(target) as file:
        file.write(b"half of the new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "The disk is full: {target} could not be written."),
        (errno.EDQUOT, "The disk is full: {target} could not be written."),
        (errno.EROFS, "{target} could not be written: no permission."),
        (errno.ENOENT, "{target} could not be written: its folder is gone."),
        (errno.ENOTDIR, "{target} could not be written: a file is in the place of its folder."),
        (errno.EEXIST, "{target} could not be written: a file is in the place of its folder."),
    ],
)
def test_trouble_with_the_disk_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    target = tmp_path / "step_000000010.ckpt"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        files.write_bytes(target, b"new")
    assert caught.value.message == message.format(target=target)
    assert caught.value.hint
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_path_is_shown_without_detours_unless_a_link_makes_them_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "yoona").mkdir()
    assert files.absolute(tmp_path / "yoona" / ".." / "base") == tmp_path / "base"
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    through_link = tmp_path / "link" / ".." / "base"
    assert files.absolute(through_link) == through_link


def test_a_target_is_checked_before_it_is_written_and_nothing_is_made(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new" / "folders" / "x.wav")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file" / "x.wav", tmp_path / "file" / "folder" / "x.wav"):
        with pytest.raises(StorageError, match="a file is in the place of its folder"):
            files.check_writable(target)
        with pytest.raises(StorageError, match="a file is in the place of its folder"):
            files.write_bytes(target, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "protos"
    with files.atomic_folder(target) as folder:
        (folder / "00000000.protos").write_bytes(b"one")
    with files.atomic_folder(target) as folder:
        (folder / "00000001.protos").write_bytes(b"two")
    assert [path.name for path in target.iterdir()] == ["00000001.protos"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "protos"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(target) as folder:
        (folder / "b").write_bytes(b"new")
        raise KeyboardInterrupt
    assert [path.name for path in target.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [target]


_KILLED = """
import os, signal
from pathlib import Path
from fishtune.core import files
from fishtune.core.reading import open_regular, reading
target = Path({target!r})
renames = 0
rename = Path.rename
def dying(self, to):
    global renames
    renames += 1
    if renames == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, to)
Path.rename = dying
with files.atomic_folder(target) as folder:
    (folder / "new").write_bytes(b"new")
"""


@pytest.mark.parametrize("at", [1, 2])
def test_a_kill_between_the_renames_loses_neither_folder(tmp_path: Path, at: int) -> None:
    target = tmp_path / "protos"
    with files.atomic_folder(target) as folder:
        (folder / "old").write_bytes(b"old")
    program = _KILLED.format(target=str(target), at=at)
    process = subprocess.run([sys.executable, "-P", "-c", program], check=False)
    assert process.returncode == -signal.SIGKILL
    files.recover_folder(target)
    assert [path.name for path in target.iterdir()] == ["old"]
    files.sweep_temporary(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_sweeping_touches_only_our_own_temporary_names(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("a person's own")
    files.temporary_path(tmp_path / "x.npy").write_text("left by a kill")
    files.temporary_path(tmp_path / "protos").mkdir()
    assert files.sweep_temporary(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_what_the_system_refuses_to_read_is_not_held_against_the_content(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageError, match=r"x\.npy cannot be read: "), reading(tmp_path / "x.npy"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR])
def test_what_is_wrong_with_a_name_is_an_error_of_the_callers_kind(tmp_path: Path, number: int) -> None:
    what = r"x\.npy (does not exist|is a link|has a name|is a folder)"
    with pytest.raises(DataError, match=what), reading(tmp_path / "x.npy"):
        raise OSError(number, os.strerror(number))


def test_what_a_library_raises_over_content_is_a_damaged_file(tmp_path: Path) -> None:
    what = r"x\.npy is damaged or not what it should be\."
    with pytest.raises(DataError, match=what), reading(tmp_path / "x.npy"):
        raise OverflowError("memory mapped length must be positive")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to("link.wav")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    for name, what in {
        "pipe.wav": "is a named pipe, not a file",
        "link.wav": "is a link that leads to itself",
        "device.wav": "is a device, not a file",
        "none.wav": "does not exist",
        ".": "is a folder, not a file",
    }.items():
        with pytest.raises(DataError, match=what):
            open_regular(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["가" * 83 + ".wav", "x" * 251 + ".wav", "🎤" * 62 + ".wav", "é" * 125 + ".wav"]
)
def test_any_name_that_the_file_system_takes_can_be_written_whole(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) <= 255
    target = tmp_path / name
    files.write_bytes(target, b"x")
    with files.atomic_folder(tmp_path / name[:-4]) as folder:
        (folder / "a").write_bytes(b"1")
    with files.atomic_folder(tmp_path / name[:-4]) as folder:
        (folder / "a").write_bytes(b"2")
    files.recover_folder(tmp_path / name[:-4])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, name[:-4]])
    # 143 bytes is what encrypted home folders allow.
    assert len(files.temporary_path(target).name.encode()) <= 143


def test_sweeping_a_target_leaves_what_others_are_writing(tmp_path: Path) -> None:
    long = "가" * 80
    for name in ("a.npy", "x-a.npy", f"{long}1.npy", f"{long}2.npy"):
        files.temporary_path(tmp_path / name).write_text("in flight")
    assert files.sweep_temporary(tmp_path, "a.npy", f"{long}1.npy") == 2
    left = [path.name for path in tmp_path.iterdir()]
    assert sum(name.endswith("-x-a.npy") for name in left) == 1
    assert len(left) == 2


def test_an_old_folder_that_was_not_yet_removed_is_swept_with_its_target(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMPORARY_PREFIX}old-protos").mkdir()
    (tmp_path / f"{files.TEMPORARY_PREFIX}old-other-protos").mkdir()
    assert files.sweep_temporary(tmp_path, "protos") == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"{files.TEMPORARY_PREFIX}old-other-protos"]


def test_the_working_folder_has_a_name_and_the_root_of_a_disk_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.temporary_path(Path()).parent == tmp_path.parent
    with pytest.raises(StorageError, match="is the root of a disk"):
        files.temporary_path(Path("/"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.EFBIG, errno.EMFILE])
def test_whatever_the_system_refuses_to_write_is_told_with_the_file(tmp_path: Path, number: int) -> None:
    target = tmp_path / "x.npy"
    with pytest.raises(StorageError, match=r"x\.npy could not be written: "), files.storage_errors(target):
        raise OSError(number, os.strerror(number))


def test_a_file_that_cannot_be_read_is_not_told_as_one_that_cannot_be_written(tmp_path: Path) -> None:
    source = tmp_path / "base" / "codec.pth"
    for number in (errno.EACCES, errno.ENOENT, errno.EIO):
        with pytest.raises(OSError, match=re.escape(str(source))), files.atomic_folder(tmp_path / "merged"):
            raise OSError(number, os.strerror(number), str(source))
        with pytest.raises(OSError, match=re.escape(str(source))), files.atomic_open(tmp_path / "x.npy"):
            raise OSError(number, os.strerror(number), str(source))
        # A source in the same folder as the target is still another file.
        with pytest.raises(OSError, match=r"y\.npy"), files.atomic_open(tmp_path / "x.npy"):
            raise OSError(number, os.strerror(number), str(tmp_path / "y.npy"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_inside_a_new_folder_is_told_as_the_folder(tmp_path: Path) -> None:
    told = pytest.raises(StorageError, match="merged could not be written")
    with told, files.atomic_folder(tmp_path / "merged") as folder:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "model.pth"))


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_a_file_of_ours_is_never_written_through_what_somebody_planted(tmp_path: Path, kind: str) -> None:
    victim, ours = tmp_path / "victim", tmp_path / "events.jsonl"
    victim.write_text("precious")
    match kind:
        case "link":
            ours.symlink_to(victim)
        case "dangling link":
            ours.symlink_to(tmp_path / "not there yet")
        case "hard link":
            ours.hardlink_to(victim)
        case "pipe":
            os.mkfifo(ours)
        case "folder":
            ours.mkdir()
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(StorageError, match=r"events\.jsonl is a link or something else"):
            open_own(ours, flags)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "not there yet").exists()


def test_a_file_of_ours_is_made_and_appended_to(tmp_path: Path) -> None:
    for _ in range(2):
        descriptor = open_own(tmp_path / "log.txt", os.O_WRONLY | os.O_APPEND, 0o600)
        os.write(descriptor, b"line\n")
        os.close(descriptor)
    assert (tmp_path / "log.txt").read_bytes() == b"line\nline\n"
    assert (tmp_path / "log.txt").stat().st_mode & 0o077 == 0


def _refused_writes() -> list[tuple[str, Exception]]:
    class SafetensorError(Exception): ...

    chained = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
    chained.__context__ = OSError(28, "No space left on device")
    return [
        ("disk is full", SafetensorError("Error while serializing: I/O error: No space (os error 28)")),
        ("disk is full", chained),
        ("no permission", SafetensorError("Error while serializing: I/O error: x (os error 13)")),
    ]


@pytest.mark.parametrize(("what", "error"), _refused_writes())
def test_a_refusal_of_the_system_that_a_library_met_while_writing_is_told_as_that(
    tmp_path: Path, what: str, error: Exception
) -> None:
    with pytest.raises(StorageError, match=what), files.atomic_path(tmp_path / "a.pth"):
        raise error
    with pytest.raises(StorageError, match=what), files.atomic_folder(tmp_path / "a"):
        raise error
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="ours"), files.atomic_path(tmp_path / "a.pth"):
        raise RuntimeError("ours")


def test_a_disk_that_fails_under_torch_or_safetensors_is_an_error_of_the_system(tmp_path: Path) -> None:
    program = (
        "import resource, signal, torch; from pathlib import Path\n"
        "from safetensors.torch import save_file\n"
        "from fishtune.core.files import atomic_folder, atomic_open\n"
        "from fishtune.core.jobs.failures import explain\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        f"here, tensors = Path({str(tmp_path)!r}), {{'a': torch.zeros(100_000)}}\n"
        "def whole():\n"
        "    with atomic_open(here / 'a.ckpt') as file: torch.save(tensors, file)\n"
        "def by_name():\n"
        "    with atomic_folder(here / 'a') as folder: torch.save(tensors, folder / 'model.pth')\n"
        "def adapter():\n"
        "    with atomic_folder(here / 'a') as folder: save_file(tensors, folder / 'a.safetensors')\n"
        "for write in (whole, by_name, adapter):\n"
        "    try: write()\n"
        "    except BaseException as error: print(type(explain(error)).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["StorageError"] * 3, done
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_not_utf_8_ends_a_text_file_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "fishtune.toml").write_text("before")
    with pytest.raises(StorageError, match=r"fishtune\.toml could not be written: a name in it is not UTF-8"):
        files.write_text(tmp_path / "fishtune.toml", os.fsdecode(b"path = \xc0\xaf"))
    assert (tmp_path / "fishtune.toml").read_text() == "before"
