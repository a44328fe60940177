"""The proofreading page without a browser: what it holds, which folders it is made of, what is refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli.app import run as run_command
from fishtune.core.dataset.edits import LeaveOut
from fishtune.core.dataset.prepared import RECORD_FILE
from fishtune.core.errors import DataError, UsageError
from fishtune.core.events import Reporter, Warned
from fishtune.core.report.languages import LANGUAGES
from fishtune.core.report.proofreading import page as page_module
from fishtune.core.report.proofreading.page import write_proofreading_page
from fishtune.core.report.sound.clips import BYTES_PER_SECOND
from fishtune.core.stages.prepare.realise import add_edits

from .listening_kit import make_run
from .proofreading_kit import CLIPS, HOSTILE, make_data
from .recorder import Recorder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("proofreading") / "voices")


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A data set of five clips."""
    shutil.copytree(made, tmp_path / "voices")
    return tmp_path / "voices"


def data_of(page: Path) -> dict[str, Any]:
    """Return what a page holds."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    return dict(json.loads(found[1]))


def test_a_page_holds_the_clips_with_their_words_and_sound(data: Path) -> None:
    write_proofreading_page(data, data / "page.html", None, Reporter())
    page = data_of(data / "page.html")
    assert [row["clip"] for row in page["rows"]] == sorted(CLIPS)
    first = page["rows"][0]
    assert (first["text"], first["seconds"], first["language"]) == ("Good morning from Kyoto.", 2.0, "en")
    assert [word["probability"] for word in first["words"]] == [0.99, 0.95, 0.9, 0.2]
    assert page["rows"][2]["text"] == HOSTILE
    assert [page["clips"][row["sound"]]["seconds"] for row in page["rows"]] == [
        pytest.approx(CLIPS[row["clip"]][0], abs=1e-3) for row in page["rows"]
    ]
    assert all(clip["src"].startswith("data:audio/mpeg;base64,") for clip in page["clips"])
    text = (data / "page.html").read_text("utf-8")
    assert "<img src=x" not in text and "unsafe" not in text.split("</head>")[0]


def test_every_text_of_the_page_is_there_in_every_language(data: Path) -> None:
    write_proofreading_page(data, data / "page.html", None, Reporter())
    texts = data_of(data / "page.html")["texts"]
    folder = Path(page_module.__file__).parent
    scripts = [*folder.glob("*.js"), *(folder.parent / "sound").glob("*.js")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    asked = set(re.findall(r'(?:say|new Refused)\("(\w+)"', source))
    assert len(asked) > 40
    assert asked <= texts.keys()
    places = re.compile(r"\{\w+\}")
    for key, text in texts.items():
        assert text.keys() == set(LANGUAGES), key
        assert len({tuple(sorted(places.findall(each))) for each in text.values()}) == 1, key


def test_only_the_least_sure_clips_are_shown_but_all_are_known(data: Path) -> None:
    page = write_proofreading_page(data, data / "page.html", 2, Reporter())
    assert [row.clip for row in page.rows] == sorted(CLIPS)
    assert [row.clip for row in page.rows if row.sound is not None] == ["MIA/talk-0001", "TOM/one"]
    assert page.shown == len(page.clips) == 2


def test_what_would_be_too_large_for_a_browser_is_shown_in_part(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "_LARGEST", 3.5 * BYTES_PER_SECOND)  # 1.2 and 2 seconds
    heard = Recorder()
    page = write_proofreading_page(data, data / "page.html", None, heard)
    assert [row.clip for row in page.rows if row.sound is not None] == ["MIA/talk-0001", "TOM/one"]
    (warned,) = [event for event in heard.events if isinstance(event, Warned)]
    assert "shows 2 of 5 clips, those whose words are least sure" in warned.message


def test_the_size_that_is_expected_is_the_size_that_comes(data: Path) -> None:
    write_proofreading_page(data, data / "page.html", None, Reporter())
    clip = data_of(data / "page.html")["clips"][0]
    assert len(clip["src"]) == pytest.approx(clip["seconds"] * BYTES_PER_SECOND, rel=0.1)


def test_edits_are_kept_under_a_name_that_changes_with_the_clips(data: Path) -> None:
    before = write_proofreading_page(data, data / "page.html", None, Reporter()).id
    assert write_proofreading_page(data, data / "page.html", 2, Reporter()).id == before
    add_edits(data, [LeaveOut(clip="TOM/two")])
    assert write_proofreading_page(data, data / "page.html", None, Reporter()).id != before


def test_a_recording_that_cannot_be_read_is_left_out_and_said(data: Path) -> None:
    (data / "TOM/two.wav").write_bytes(b"RIFF")
    heard = Recorder()
    page = write_proofreading_page(data, data / "page.html", None, heard)
    assert page.shown == 4
    (warned,) = [event for event in heard.events if isinstance(event, Warned)]
    assert "1 recording is left out" in warned.message and "two.wav" in warned.message


def test_a_data_set_without_clips_to_be_heard_is_refused(data: Path) -> None:
    for recording in data.rglob("*.wav"):
        recording.unlink()
    with pytest.raises(DataError, match="has no clip with a transcript that can be heard"):
        write_proofreading_page(data, data / "page.html", None, Reporter())


def test_another_file_is_not_replaced(data: Path) -> None:
    (data / "page.html").write_text("<p>mine</p>", encoding="utf-8")
    with pytest.raises(UsageError, match="exists already, and fishtune did not write it"):
        write_proofreading_page(data, data / "page.html", None, Reporter())


# the command


@pytest.mark.parametrize("is_prepared", [True, False])
def test_the_command_makes_the_page_of_a_data_set(
    data: Path, is_prepared: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not is_prepared:
        (data / RECORD_FILE).unlink()
    assert run_command(["listen", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"page": str(data / "proofread.html"), "clips": 5, "clips_of_data": 5}
    assert run_command(["listen", str(data), "--least-sure", "2", "--output", str(data / "two.html")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "two.html: 2 clips" in said
    assert f"fishtune prepare {shlex.quote(str(data))} --edits FILE" in said
    assert run_command(["validate", str(data), "--json"]) == 0
    assert "proofread.html" not in capsys.readouterr().out


def test_runs_and_data_sets_are_told_apart(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, ["One."])
    assert run_command(["listen", str(run)]) == 0
    assert (run / "listen.html").is_file() and not (run / "proofread.html").exists()
    capsys.readouterr()
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, message in {
        (str(data), str(run)): "is a data set: its page shows nothing else",
        (str(data), "--votes", "votes.json"): "is a data set: votes are about runs",
        (str(run), "--least-sure", "3"): "--least-sure is for the clips of a data set",
        (str(empty),): "is neither a run nor a data set",
    }.items():
        assert run_command(["listen", *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
