"""Tables of transcripts: what is said about them, and that the command makes what it says."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as command
from fishtune.core.dataset.findings import FindingKind
from fishtune.core.dataset.layout import scan
from fishtune.core.dataset.transcript_tables import Row, read_rows
from fishtune.core.errors import DataError


def recordings(root: Path, *names: str) -> None:
    for number, name in enumerate(names, 1):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = name.rpartition(".")[2].upper()
        soundfile.write(root / name, np.full(4_000 + number, 0.1), 16_000, format=kind)


def run_advice(sentence: str) -> None:
    """Run the command that a finding names, as a user pastes it."""
    arguments = shlex.split(sentence.partition(": ")[2])
    assert arguments[:2] == ["fishtune", "prepare"]
    assert command(arguments[1:]) == 0


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
    root = tmp_path / "raw"
    recordings(root, *(audio.format(name=name) for name in names))
    recordings(root / "else", audio.format(name="not in the table"))
    text = "Good morning, the train leaves at nine. 안녕"
    head = "file_name,text" if "," in row.partition('"')[0] else ""
    lines = [head, *(row.format(name=name, text=text) for name in names)]
    content = "\ufeff" + "\r\n".join(line for line in lines if line) + "\r\n"
    (root / table).write_text(content, encoding="utf-8", newline="")
    found = next(problem for problem in scan(root).problems if problem.code is FindingKind.TEXT_IN_TABLE)
    assert found.path == root / table
    assert found.what.startswith(f"{root / table} (")
    assert found.what.endswith(") has the words of 3 recordings that have no transcript of their own.")
    shutil.rmtree(root / "else")
    run_advice(found.what_to_do)
    result = scan(tmp_path / "raw-prepared")
    assert not result.problems
    assert [clip.name.rpartition("/")[2] for clip in result.clips] == sorted(names)
    texts = [clip.text for clip in result.clips]
    assert [path and path.read_text(encoding="utf-8") for path in texts] == [text + "\n"] * 3


@pytest.mark.parametrize(
    "content", [b"", b"a;b", b"name,age\nyoona,29\n", b"\xff\xfea\0|\0", b"a|" + b"x" * 200_000]
)
def test_a_file_that_is_no_table_of_these_recordings_changes_nothing(tmp_path: Path, content: bytes) -> None:
    recordings(tmp_path, "wavs/b.wav")
    (tmp_path / "metadata.csv").write_bytes(content)
    assert [problem.code for problem in scan(tmp_path).problems] == [FindingKind.TEXT_MISSING]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        (
            "metadata.csv",
            "LJ1|Dr. Who, 3|Doctor Who, three\nLJ2|Yes.|Yes.\n",
            [("LJ1", "Dr. Who, 3"), ("LJ2", "Yes.")],
        ),
        (
            "train.list",
            "wavs\\a.wav|bob|EN|Salt | pepper\nwavs/b.wav|bob|ZH|你好。\n".replace(" | ", " and "),
            [("wavs\\a.wav", "Salt and pepper", "bob", "EN"), ("wavs/b.wav", "你好。", "bob", "ZH")],
        ),
        (
            "list.txt",
            "".join(f"{n}.wav|{'ab'[n % 2]}|So many words here.\n" for n in range(6)),
            [(f"{n}.wav", "So many words here.", "ab"[n % 2]) for n in range(6)],
        ),
        ("metadata.csv", 'file_name,text\na.mp3,"One, two."\n', [("a.mp3", "One, two.")]),
        ("metadata.csv", "text,duration,file_name\nOne.,3.2,a.mp3\n", [("a.mp3", "One.")]),
        (
            "validated.tsv",
            "client_id\tpath\tsentence_id\tsentence\tlocale\nx9\ta.mp3\t7\tOne.\tde\n",
            [("a.mp3", "One.", "x9", "de")],
        ),
        (
            "metadata.jsonl",
            '{"file_name": "a.mp3", "transcription": "One.", "n": 3}\n\n',
            [("a.mp3", "One.")],
        ),
        (
            "84-121123.trans.txt",
            "84-121123-0000 GO DO YOU HEAR\n84-121123-0001\n",
            [("84-121123-0000", "GO DO YOU HEAR")],
        ),
    ],
)
def test_columns_are_known_by_heading_or_content(
    tmp_path: Path, name: str, content: str, rows: list[tuple[str, ...]]
) -> None:
    (tmp_path / name).write_text("\ufeff" + content, encoding="utf-8")
    assert read_rows(tmp_path / name).rows == tuple(Row(*row) for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b"words only"), ("a.csv", b"\xff|\xfe"), ("a.jsonl", b"[1]"), ("a.jsonl", b"{")],
)
def test_what_is_not_a_table_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is not a table of transcripts"):
        read_rows(tmp_path / name)
