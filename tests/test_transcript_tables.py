"""Tables of transcripts: what is said about them, and that the command makes what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fishtune.core.dataset.findings import FindingKind
from fishtune.core.dataset.layout import scan


def recordings(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def run_advice(command: str) -> None:
    line = command.partition(": ")[2]
    assert line.startswith("python3 -c ")
    subprocess.run(line, shell=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("table", "row", "audio"),
    [
        ("metadata.csv", "{name}|{text}|{text} again", "wavs/{name}.wav"),
        ("LJ's $HOME (1)/metadata.csv", "{name}|{text}", "LJ's $HOME (1)/wavs/{name}.wav"),
        ("S/metadata.csv", "{name}.wav|{text}", "S/{name}.wav"),
        ("transcript.v.1.4.txt", "1/{name}.wav|{text}|x|y", "1/{name}.wav"),
        ("train.list", "wavs/S/{name}.mp3|{text}|ko", "S/{name}.mp3"),
        ("metadata.tsv", "{name}.flac\t{text}", "S/{name}.flac"),
        ("metadata.csv", 'S/{name}.WAV,"{text}"', "S/{name}.WAV"),
    ],
)
def test_a_table_of_transcripts_is_one_finding_whose_command_works(
    tmp_path: Path, table: str, row: str, audio: str
) -> None:
    names = ["a", "21.15-26.44", "음성 1"]
    recordings(tmp_path, *(audio.format(name=name) for name in names))
    recordings(tmp_path, audio.format(name="not in the table"))
    text = "Good morning, the train leaves at nine. 안녕"
    head = "file_name,text" if "," in row.partition('"')[0] else ""
    lines = [head, *(row.format(name=name, text=text) for name in names)]
    content = "\ufeff" + "\r\n".join(line for line in lines if line) + "\r\n"
    (tmp_path / table).write_text(content, encoding="utf-8", newline="")
    found, alone = sorted(scan(tmp_path).problems, key=lambda problem: problem.code)
    assert (found.code, found.path) == (FindingKind.TEXT_IN_TABLE, tmp_path / table)
    assert (
        found.what
        == f"{tmp_path / table} has the words of 3 recordings that have no transcript of their own."
    )
    assert alone.code is FindingKind.TEXT_MISSING
    run_advice(found.what_to_do)
    result = scan(tmp_path)
    assert [problem.code for problem in result.problems] == [FindingKind.TEXT_MISSING]
    texts = {clip.name.rpartition("/")[2]: clip.text for clip in result.clips}
    assert texts.pop("not in the table") is None
    assert [path and path.read_text(encoding="utf-8") for path in texts.values()] == [text + "\n"] * 3


def test_transcripts_that_are_there_are_kept(tmp_path: Path) -> None:
    recordings(tmp_path, "wavs/a.wav", "wavs/b.wav")
    (tmp_path / "wavs/a.txt").write_text("corrected by hand")
    (tmp_path / "metadata.csv").write_text("a|from the table\nb|from the table\n")
    found = scan(tmp_path, ".txt").problems
    assert [problem.code for problem in found] == [FindingKind.TEXT_IN_TABLE]
    run_advice(found[0].what_to_do)
    assert (tmp_path / "wavs/a.txt").read_text() == "corrected by hand"
    assert (tmp_path / "wavs/b.txt").read_text() == "from the table\n"


@pytest.mark.parametrize(
    "content", [b"", b"a;b", b"name,age\nyoona,29\n", b"\xff\xfea\0|\0", b"a|" + b"x" * 200_000]
)
def test_a_file_that_is_no_table_of_these_recordings_changes_nothing(tmp_path: Path, content: bytes) -> None:
    recordings(tmp_path, "wavs/b.wav")
    (tmp_path / "metadata.csv").write_bytes(content)
    assert [problem.code for problem in scan(tmp_path).problems] == [FindingKind.TEXT_MISSING]
