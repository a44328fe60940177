"""The folder of recordings: what `scan` finds and what it complains about."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest
from fishtune.core.dataset.clips import Utterance
from fishtune.core.dataset.findings import FindingKind, Severity
from fishtune.core.dataset.layout import scan
from fishtune.core.errors import DataError, StorageError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def codes_of(root: Path, **options: object) -> dict[FindingKind, list[Path]]:
    found: dict[FindingKind, list[Path]] = {}
    for problem in scan(root, **options).problems:  # type: ignore[arg-type]
        found.setdefault(problem.code, []).append(problem.path)
    return found


def test_utterances_are_sorted_by_speaker_and_name_whatever_the_extension(tmp_path: Path) -> None:
    make(tmp_path, "유나/b c.FLAC", "유나/b c.lab", "유나/a.wav", "유나/a.lab")
    make(tmp_path, "Bob/21.15-26.44.mp3", "Bob/21.15-26.44.lab")
    result = scan(tmp_path)
    assert [utterance.key for utterance in result.utterances] == [
        "Bob/21.15-26.44",
        "유나/a",
        "유나/b c",
    ]
    assert result.problems == []
    assert result.speakers == ["Bob", "유나"]


def test_an_utterance_names_its_codes_beside_the_recording() -> None:
    utterance = Utterance("Bob", Path("data/Bob/21.15-26.44.mp3"))
    assert utterance.codes_path == Path("data/Bob/21.15-26.44.npy")


def test_codes_and_text_without_a_recording_are_a_clip_but_no_utterance(golden: Path) -> None:
    result = scan(golden / "data")
    assert [clip.key for clip in result.clips] == [
        "SPK1/21.15-26.44",
        "SPK1/27.51-29.98",
        "SPK2/38.79-40.85",
    ]
    assert result.utterances == []
    assert result.problems == []


def test_every_fault_of_the_layout_is_named_with_its_file(tmp_path: Path) -> None:
    make(tmp_path, "S/no text.wav", "S/no audio.lab", "S/twice.wav", "S/twice.mp3", "S/twice.lab")
    make(tmp_path, "S/phone.m4a", "S/folder.wav/x", "S/part/of/deep.wav", "loose.mp3", "S/ok.wav", "S/ok.lab")
    make(tmp_path, "protos/00000000.protos", ".hidden/x.wav", "S/.x.wav", "S/.fishtune-tmp-0-a.wav")
    found = codes_of(tmp_path)
    assert found == {
        FindingKind.TEXT_MISSING: [tmp_path / "S/no text.wav"],
        FindingKind.AUDIO_MISSING: [tmp_path / "S/no audio.lab"],
        FindingKind.AUDIO_TWICE: [tmp_path / "S/twice.wav"],
        FindingKind.UNKNOWN_FORMAT: [tmp_path / "S/phone.m4a"],
        FindingKind.NOT_A_FILE: [tmp_path / "S/folder.wav"],
        FindingKind.NESTED_TOO_DEEP: [tmp_path / "S"],
        FindingKind.NOT_IN_SPEAKER_FOLDER: [tmp_path],
    }
    assert [utterance.key for utterance in scan(tmp_path).utterances] == ["S/no text", "S/ok"]
    assert {problem.severity for problem in scan(tmp_path).problems} == {Severity.ERROR, Severity.WARNING}


def test_a_folder_without_speakers_is_an_error_that_shows_the_layout(tmp_path: Path) -> None:
    make(tmp_path, "protos/00000000.protos", "readme.txt")
    (problem,) = scan(tmp_path).problems
    assert problem.code is FindingKind.NO_SPEAKERS
    assert f"{tmp_path}/SPEAKER/NAME.mp3" in problem.what_to_do


def test_excluded_clips_vanish_with_their_problems_and_unknown_ones_are_reported(tmp_path: Path) -> None:
    make(tmp_path, "S/a.wav", "S/b.wav", "S/b.lab")
    result = scan(tmp_path, exclude=["S/a", "S/typo"])
    assert [clip.key for clip in result.clips] == ["S/b"]
    assert [problem.code for problem in result.problems] == [FindingKind.EXCLUDED_UNKNOWN]
    assert "'S/typo'" in result.problems[0].what


def test_a_transcript_under_another_extension_or_unicode_form_is_pointed_out(tmp_path: Path) -> None:
    make(tmp_path, "S/a.wav", "S/a.txt", "S/" + unicodedata.normalize("NFD", "안녕") + ".wav", "S/안녕.lab")
    hints = [p.what_to_do for p in scan(tmp_path).problems if p.code is FindingKind.TEXT_MISSING]
    assert "If a.txt is meant: --text-extension .txt" in hints[0]
    assert "안녕.lab looks alike but is spelt in another Unicode form" in hints[1]
    assert codes_of(tmp_path, text_extension=".txt").get(FindingKind.TEXT_MISSING) != [tmp_path / "S/a.wav"]


@pytest.mark.parametrize("extension", [".txt", "txt"])
def test_another_extension_of_transcripts_may_lack_its_dot(tmp_path: Path, extension: str) -> None:
    make(tmp_path, "S/a.b.wav", "S/a.b.txt")
    result = scan(tmp_path, extension)
    assert result.clips[0].text == tmp_path / "S/a.b.txt"
    assert result.problems == []


def test_names_that_are_no_text_are_reported_and_not_used(tmp_path: Path) -> None:
    make(tmp_path, "S/ok.wav", "S/ok.lab", "S/two\nlines.wav")
    (tmp_path / "S" / os.fsdecode(b"\xff.wav")).write_bytes(b"")
    found = codes_of(tmp_path)
    assert found == {FindingKind.BAD_NAME: [tmp_path / "S/two\\nlines.wav", tmp_path / "S/\\xff.wav"]}


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_no_folder_is_one_sentence(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "data"
    if kind == "file":
        root.write_text("")
    with pytest.raises(DataError, match="does not exist" if kind == "missing" else "is not a folder"):
        scan(root)


def test_a_folder_inside_a_speakers_is_read_and_is_part_of_the_clips_name(tmp_path: Path) -> None:
    make(tmp_path, "S/book 1/x.wav", "S/book 1/x.lab", "S/x.wav", "S/x.lab", "S/a.wav", "S/a.lab")
    make(tmp_path, "S/2/y.npy", "S/2/y.lab", "S/packed/00000000.protos", "R/2/y.flac", "R/2/y.lab")
    result = scan(tmp_path)
    assert result.problems == []
    assert [clip.key for clip in result.clips] == ["R/2/y", "S/2/y", "S/a", "S/book 1/x", "S/x"]
    assert [clip.folder for clip in result.clips] == ["R/2", "S/2", "S", "S/book 1", "S"]
    utterances = {utterance.key: utterance for utterance in result.utterances}
    assert utterances["S/book 1/x"].codes_path == tmp_path / "S/book 1/x.npy"
    assert result.speakers == ["R", "S"]
    assert [clip.key for clip in scan(tmp_path, exclude=["S/book 1/x"]).clips] == [
        "R/2/y",
        "S/2/y",
        "S/a",
        "S/x",
    ]


@pytest.mark.parametrize("below", ["c", "c/d/e"])
def test_recordings_that_lie_too_deep_are_counted_and_named(tmp_path: Path, below: str) -> None:
    make(tmp_path, "S/x.wav", "S/x.lab", f"S/b/{below}/1.wav", f"S/b/{below}/2.MP3", f"S/b/{below}/2.lab")
    (problem,) = scan(tmp_path).left_out
    assert (problem.code, problem.path) == (FindingKind.NESTED_TOO_DEEP, tmp_path / "S")
    first = tmp_path / "S/b" / below / "1.wav"
    assert problem.what.startswith("2 recordings in ")
    assert problem.what.endswith(f"lie too deep and are not used, such as {first}.")


NAMES = [
    "no-break\u00a0space",
    "ideographic\u3000space",
    "em\u2003space",
    "narrow\u202fspace",
    "می\u200cخواهم",
    "👩\u200d👩\u200d👧",
    "private \ue000",
    "newer than Python \U0001fae8 \U0001f6d8",
    "soft\u00adhyphen",
    "가" * 83,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_can_be_shown_is_used(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"{name}/{name}.wav", f"{name}/{name}.lab", f"{name}/{name}/{name}.wav")
    make(tmp_path, f"{name}/{name}/{name}.lab")
    result = scan(tmp_path)
    assert result.problems == []
    assert [clip.key for clip in result.clips] == [f"{name}/{name}", f"{name}/{name}/{name}"]


@pytest.mark.parametrize("name", ["tab\t", "bell\x07", "esc\x1b[2J", "line\u2028", "c1\x9b", "turn\u202e"])
def test_names_with_control_characters_are_findings_that_show_none(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"S/{name}한글.wav", f"{name}/x.wav", f"S/book/{name}.wav", "S/ok.wav", "S/ok.lab")
    result = scan(tmp_path)
    assert [clip.key for clip in result.clips] == ["S/ok"]
    assert [problem.code for problem in result.problems] == [FindingKind.BAD_NAME] * 3
    for problem in result.problems:
        assert name[-1] not in f"{problem.path}{problem.what}{problem.what_to_do}" or name[-1].isprintable()
    assert "한글" in result.problems[1].what or "한글" in result.problems[0].what


def test_a_name_in_another_encoding_says_so(tmp_path: Path) -> None:
    make(tmp_path, "S/ok.wav", "S/ok.lab")
    (tmp_path / os.fsdecode("유나".encode("cp949"))).mkdir()
    (problem,) = scan(tmp_path).problems
    assert problem.code is FindingKind.BAD_NAME
    assert problem.what.endswith("is not UTF-8.")
    problem.model_dump_json()


def test_one_entry_that_the_system_refuses_is_a_finding_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "S/ok.wav", "S/ok.lab", "S/a.lab", "stale/x.wav", "T/locked/x.wav", "T/y.wav", "T/y.lab")
    (tmp_path / "S" / "self").symlink_to("self")
    (tmp_path / "S" / "a.wav").symlink_to("a.wav")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    scandir = os.scandir

    def refusing(path: str | os.PathLike[str]) -> object:
        refusals = {"stale": errno.ESTALE, "locked": errno.EACCES}
        if (number := refusals.get(Path(path).name)) is not None:
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = scan(tmp_path)
    assert [utterance.key for utterance in result.utterances] == ["S/ok", "T/y"]
    assert [(problem.code, problem.path.relative_to(tmp_path).as_posix()) for problem in result.problems] == [
        (FindingKind.ENTRY_REFUSED, "loop"),
        (FindingKind.ENTRY_REFUSED, "nowhere"),
        (FindingKind.ENTRY_REFUSED, "S/a.wav"),
        (FindingKind.ENTRY_REFUSED, "S/self"),
        (FindingKind.FOLDER_UNREADABLE, "T/locked"),
        (FindingKind.FOLDER_UNREADABLE, "stale"),
    ]
    assert result.left_out == result.problems


@pytest.mark.parametrize("where", ["", "S", "S/book"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_disk_that_fails_ends_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    make(tmp_path, "S/book/x.wav", "S/book/x.lab", "T/y.wav", "T/y.lab")
    scandir = os.scandir

    def failing(path: str | os.PathLike[str]) -> object:
        if Path(path) == tmp_path / where:
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(StorageError, match="cannot be read"):
        scan(tmp_path)


@pytest.mark.parametrize("folder", ["S", "S/book"])
def test_a_pipe_named_like_a_file_of_a_clip_is_a_finding_and_is_not_opened(
    tmp_path: Path, folder: str
) -> None:
    make(tmp_path, f"{folder}/a.lab", f"{folder}/b.wav", f"{folder}/c.wav", f"{folder}/c.lab")
    for name in ("a.wav", "b.lab", "c.npy"):
        os.mkfifo(tmp_path / folder / name)
    result = scan(tmp_path)
    assert [(problem.code, problem.path.name) for problem in result.problems] == [
        (FindingKind.NOT_A_FILE, "a.wav"),
        (FindingKind.NOT_A_FILE, "b.lab"),
        (FindingKind.NOT_A_FILE, "c.npy"),
    ]
    assert [utterance.audio.name for utterance in result.utterances] == ["b.wav"]  # c.npy is not ours


def test_devices_and_folders_named_like_files_of_a_clip_are_findings(tmp_path: Path) -> None:
    make(tmp_path, "S/ok.wav", "S/ok.lab", "S/a.lab/x", "S/b.npy/x", "S/b.wav", "S/b.lab")
    (tmp_path / "S/zero.wav").symlink_to("/dev/zero")
    (tmp_path / "root.wav").symlink_to("/dev/zero")
    assert codes_of(tmp_path) == {
        FindingKind.NOT_A_FILE: [tmp_path / name for name in ("root.wav", "S/zero.wav", "S/a.lab", "S/b.npy")]
    }
    assert [utterance.key for utterance in scan(tmp_path).utterances] == ["S/ok"]


def test_a_link_back_is_not_followed_and_a_link_elsewhere_is(tmp_path: Path) -> None:
    data = make(tmp_path / "data", "S/x.wav", "S/x.lab")
    make(tmp_path / "elsewhere", "y.wav", "y.lab")
    (data / "S" / "again").symlink_to(".")
    (data / "S" / "up").symlink_to("..")
    (data / "all").symlink_to(".")
    (data / "T").symlink_to(tmp_path / "elsewhere")
    (data / "S" / "book").symlink_to(tmp_path / "elsewhere")
    result = scan(data)
    assert [clip.key for clip in result.clips] == ["S/book/y", "S/x", "T/y"]
    assert [(p.code, p.path) for p in result.problems] == [
        (FindingKind.ENTRY_REFUSED, data / "S/again"),
        (FindingKind.ENTRY_REFUSED, data / "S/up"),
        (FindingKind.ENTRY_REFUSED, data / "all"),
    ]


def test_the_case_of_a_transcripts_extension_does_not_matter(tmp_path: Path) -> None:
    make(tmp_path, "S/a.WAV", "S/a.LAB", "S/b.wav", "S/b.Lab", "S/c.wav", "S/c.lab", "S/c.LAB")
    result = scan(tmp_path)
    assert [clip.text.name for clip in result.clips if clip.text] == ["a.LAB", "b.Lab", "c.lab"]
    assert [(problem.code, problem.path.name) for problem in result.problems] == [
        (FindingKind.TEXT_TWICE, "c.LAB")
    ]


def test_a_longer_extension_of_transcripts_is_pointed_out_and_taken(tmp_path: Path) -> None:
    make(tmp_path, "S/1/a.wav", "S/1/a.normalized.txt", "S/1/a.original.txt")
    (problem,) = scan(tmp_path).problems
    assert "If a.normalized.txt is meant: --text-extension .normalized.txt" in problem.what_to_do
    assert scan(tmp_path, ".normalized.txt").problems == []


def test_the_command_to_prepare_a_folder_names_one_beside_it_however_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"")
    monkeypatch.chdir(folder)
    (by_name,) = scan(folder).problems
    (by_dot,) = scan(Path()).problems
    assert by_name.what_to_do.endswith(f"fishtune prepare '{folder}' '{folder}-prepared'")
    assert by_dot.what_to_do.endswith(f"fishtune prepare . '{folder}-prepared'")
