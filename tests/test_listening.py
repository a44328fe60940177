"""The listening page without a browser: what is in the file, how it is made, votes, and how it is fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import io
import json
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.levels import loudness
from fishtune.core.cli.app import run as run_command
from fishtune.core.config.settings import AuditionSettings
from fishtune.core.errors import DataError, UsageError
from fishtune.core.events import Progress, Reporter, Warned
from fishtune.core.jobs.record import Place
from fishtune.core.judge.record import audition_folder, read_record, read_run
from fishtune.core.judge.votes import VOTES_FILE, Vote, keep_votes, preferences, read_votes, votes_of
from fishtune.core.pipeline.choice import recommended
from fishtune.core.report import auditioned
from fishtune.core.report.listening.page import write_listening_page
from fishtune.core.report.serving import PageServer, copy_command, tunnel_command
from fishtune.core.report.sound.clips import Level, common_loudness

from .listening_kit import HOSTILE, TEXTS, make_run
from .recorder import Recorder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with five columns, and its page beside it."""
    made = make_run(tmp_path_factory.mktemp("listening"))
    write_listening_page([made], made / "listen.html", Reporter())
    return made


def data_of(page: Path) -> dict[str, Any]:
    """Return what a page holds."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_page_runs_and_applies_only_what_is_in_it(run: Path) -> None:
    text = (run / "listen.html").read_text("utf-8")
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="(.*?)"', text)[0])
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", text)
    assert "http:" not in outside and "https:" not in outside and "//cdn" not in outside
    assert text.count("</script>") == 2, "a transcript ended the data"
    assert data_of(run / "listen.html")["rows"][2]["text"] == HOSTILE


def test_every_recording_is_there_at_its_exact_length_and_equally_loud(run: Path) -> None:
    table, data = read_run(run), data_of(run / "listen.html")
    assert table is not None
    found = []
    for number, candidate in enumerate(table.candidates):
        for cell in candidate.cells:
            audio = candidate.audio(cell)
            shown = data["rows"][cell.text]["cells"][number]
            assert (shown["clip"] is None) == (audio is None)
            if audio is None:
                continue
            clip = data["clips"][shown["clip"]]
            kind, _, content = clip["src"].partition(",")
            assert kind == "data:audio/mpeg;base64"
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), always_2d=True)
            original = soundfile.info(audio)
            assert (len(samples), rate) == (original.frames, original.samplerate)
            assert clip["seconds"] == pytest.approx(original.duration)
            assert np.abs(samples).max() <= 1
            found.append(loudness(samples.astype(np.float32), rate))
    assert len(found) == 16
    assert max(found) - min(found) < 0.5
    assert len((run / "listen.html").read_bytes()) < 20_000 * sum(clip["seconds"] for clip in data["clips"])


def test_one_recording_of_a_few_peaks_does_not_make_all_others_quiet() -> None:
    voice = Level(loudness=-25, peak=-6)
    assert common_loudness([voice]) == -20
    assert common_loudness([voice, Level(-24, -2)]) == -23
    assert common_loudness([voice, Level(-45, -1)]) == -30
    assert common_loudness([Level(-90, -80)]) == -20


def test_the_course_of_a_run_is_one_over_all_its_jobs(run: Path) -> None:
    (course,) = data_of(run / "listen.html")["runs"]
    assert [step for step, _ in course["training"]] == list(range(1, 201))
    assert [step for step, _ in course["held_out"]] == [0, 50, 100, 150, 200]
    assert course["resumed"] == [100]
    assert course["recommended"] == "my-voice/step 100"
    assert course["reason"]["en"].startswith("8.0% of its words are wrong")


def test_rows_columns_and_their_words(run: Path) -> None:
    data = data_of(run / "listen.html")
    assert [row["text"] for row in data["rows"]] == TEXTS
    assert [column["name"] for column in data["columns"]] == [
        "recording",
        "base",
        "step 100 × 0.5",
        "step 100",
        "step 200",
    ]
    (fault,) = data["rows"][0]["cells"][4]["faults"]
    assert fault["kind"]["en"] == "missing-end" and fault["kind"]["ko"] == "끝부분 빠짐"
    assert fault["message"]["en"] == "The last 2 words are missing: once <i>more</i>."
    assert data["rows"][0]["cells"][0] is None, "a recording says its own text only"
    assert all(set(text) == {"en", "ko"} for text in data["texts"].values())


def test_the_scripts_say_nothing_that_has_no_text(run: Path) -> None:
    text = (run / "listen.html").read_text("utf-8")
    keys = set(data_of(run / "listen.html")["texts"])
    said = set(re.findall(r'\bsay\("([a-z_-]+)"', text))
    assert said and said <= keys
    assert {"sort_order", "show_held_out", "wer", "faulty", "held-out", "given", "ours"} <= keys


def test_each_seed_is_a_row_and_a_recording_stands_in_all_of_its_text(tmp_path: Path) -> None:
    run = make_run(tmp_path, TEXTS[:2], seeds=(1, 2))
    write_listening_page([run], tmp_path / "page.html", Reporter())
    rows = data_of(tmp_path / "page.html")["rows"]
    assert [(row["text"], row["take"]) for row in rows] == [
        (TEXTS[0], 1), (TEXTS[0], 2), (TEXTS[1], 1), (TEXTS[1], 2),
    ]  # fmt: skip
    assert rows[2]["cells"][0]["clip"] == rows[3]["cells"][0]["clip"] is not None
    assert rows[2]["cells"][1]["clip"] != rows[3]["cells"][1]["clip"]


def test_runs_are_shown_side_by_side_by_their_texts(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path, [TEXTS[0], "Only this run says so."])
    other = other.rename(other.with_name("other"))
    page = write_listening_page([run, other], tmp_path / "page.html", Reporter())
    assert [row.text for row in page.rows] == [*TEXTS, "Only this run says so."]
    assert len(page.columns) == 10
    assert [course.run for course in page.runs] == ["my-voice", "other"]
    assert sum(cell is not None for cell in page.rows[0].cells) == 8


def test_a_recording_that_is_gone_is_left_out_and_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, TEXTS[:1])
    (run / "audition/base/0-1.wav").unlink()
    reporter = Recorder()
    page = write_listening_page([run], tmp_path / "page.html", reporter)
    assert page.rows[0].cells[1] is not None and page.rows[0].cells[1].clip is None
    (warning,) = [event.message for event in reporter.events if isinstance(event, Warned)]
    assert warning.startswith("1 recording is left out: ") and "0-1.wav" in warning


def test_each_pass_over_the_recordings_tells_how_far_it_is(tmp_path: Path) -> None:
    run, reporter = make_run(tmp_path, TEXTS[:1]), Recorder()
    made = len(write_listening_page([run], tmp_path / "page.html", reporter).clips)
    last = {event.task: (event.done, event.total) for event in reporter.of(Progress)}
    assert last == {"measuring loudness": (made, made), "making the page": (made, made)}


def test_a_run_that_nobody_auditioned_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/x/checkpoints").mkdir(parents=True)
    with pytest.raises(DataError, match="has no audition to listen to"):
        write_listening_page([tmp_path / "results/x"], tmp_path / "page.html", Reporter())
    assert run_command(["listen", "x"]) == 1
    assert "Make one: fishtune audition" in capsys.readouterr().err
    for run in ("x", "y"):  # of y, which was never trained, only a check is kept
        (tmp_path / f"results/{run}/jobs").mkdir(parents=True)
    assert run_command(["listen", "nowhere"]) == 2
    said = "There is no run and no folder nowhere here.\n  → The runs of this folder are x.\n"
    assert said in capsys.readouterr().err
    assert run_command(["listen"]) == 2
    assert "no run was named" in capsys.readouterr().err


def test_nothing_but_an_earlier_page_is_replaced(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes((run / "listen.html").read_bytes())
    write_listening_page([run], page, Reporter())
    for output in (tmp_path / "mine.html", tmp_path):
        if output is not tmp_path:
            output.write_text("<p>mine", encoding="utf-8")
        with pytest.raises(UsageError, match="exists already, and fishtune did not write it"):
            write_listening_page([run], output, Reporter())
    assert (tmp_path / "mine.html").read_text(encoding="utf-8") == "<p>mine"


def test_an_audition_makes_the_page_and_outlives_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, TEXTS[:1])
    checkpoint = run / "checkpoints/step_000000100.ckpt"
    result = read_record(audition_folder(checkpoint))
    assert result is not None
    monkeypatch.setattr(auditioned, "audition", lambda settings, reporter: result)
    settings = AuditionSettings(checkpoint=checkpoint)
    assert auditioned.run(settings, Reporter()) == result
    assert data_of(run / "listen.html")["title"] == "my-voice"
    for recording in run.rglob("*.wav"):
        recording.unlink()
    reporter = Recorder()
    assert auditioned.run(settings, reporter) == result
    assert any(
        "page to listen to was not made" in str(getattr(each, "message", "")) for each in reporter.events
    )


# votes


def vote(first: str, second: str, choice: str, time: str = "t", kind: str = "ab") -> Vote:
    """Return a vote between two columns of the run."""
    return Vote.model_validate(
        {
            "kind": kind,
            "text": TEXTS[0],
            "first": f"my-voice/{first}",
            "second": f"my-voice/{second}",
            "x": "first" if kind == "abx" else None,
            "choice": choice,
            "time": time,
        }
    )


def test_votes_are_counted_by_what_was_preferred_to_what() -> None:
    votes = [
        vote("step 100", "base", "first"),
        vote("base", "step 100", "second"),
        vote("step 100", "step 200", "second"),
        vote("step 100", "base", "same"),
        vote("step 100", "base", "first", kind="abx"),
    ]
    found = preferences(votes)
    assert (found["my-voice/step 100"].won, found["my-voice/step 100"].lost) == (2, 1)
    assert (found["my-voice/base"].won, found["my-voice/base"].lost) == (0, 2)
    assert found["my-voice/step 100"].by_chance == pytest.approx(0.5)
    assert found["my-voice/base"].by_chance == 1


def test_votes_read_by_the_command_decide_the_recommendation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, TEXTS[:3])
    monkeypatch.chdir(tmp_path)
    place = Place(results=run.parent, project=run.name)
    before = recommended(place)
    assert before is not None and before.candidate.step == 100
    votes = [vote("step 200", "step 100", "first", str(number)).model_dump() for number in range(5)]
    foreign = vote("a", "b", "first").model_dump() | {"first": "other/a", "second": "other/b"}
    (tmp_path / "votes.json").write_text(json.dumps({"fishtune_votes": 1, "votes": [*votes, foreign]}))
    assert run_command(["listen", "my-voice", "--votes", "votes.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["new_votes"] == {"my-voice": 5}
    assert told["recommended"] == {"my-voice": "my-voice/step 200"}
    assert len(votes_of(run)) == 5
    after = recommended(place)
    assert after is not None and after.candidate.step == 200
    assert after.reason.startswith("You preferred it in 5 of 5 blind comparisons")
    assert run_command(["listen", "my-voice", "--votes", "votes.json"]) == 0
    told_again = capsys.readouterr().out
    assert f"0 new votes are kept in {run / VOTES_FILE}" in told_again
    assert "Recommended: my-voice/step 200. You preferred it" in told_again


def test_a_few_votes_that_chance_explains_change_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, TEXTS[:1])
    assert keep_votes(run, [vote("step 200", "step 100", "first", str(number)) for number in range(3)]) == 3
    found = recommended(Place(results=run.parent, project=run.name))
    assert found is not None and found.candidate.step == 100


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"fishtune_votes": 2, "votes": []}', '{"votes": [{"kind": "x"}]}']
)
def test_a_file_without_votes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.json does not hold votes of the listening page"):
        read_votes(tmp_path / "x.json")


# on another machine


def test_the_copy_and_tunnel_commands_name_this_machine_as_ssh_reached_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    file = Path("/data/my voice/listen.html")
    here = {"SSH_CONNECTION": "10.0.0.5 50000 192.0.2.7 2222"}
    assert copy_command(file, here) == "scp -P 2222 'anna@192.0.2.7:/data/my voice/listen.html' ."
    assert tunnel_command(8000, here) == "ssh -p 2222 -N -L 8000:127.0.0.1:8000 anna@192.0.2.7"
    six = {"SSH_CONNECTION": "fe80::1 50000 2001:db8::7 22"}
    assert shlex.split(copy_command(file, six))[1] == "anna@[2001:db8::7]:/data/my voice/listen.html"
    assert tunnel_command(8000, six).endswith(" anna@2001:db8::7")
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    assert "anna@box:" in copy_command(file, {})


def test_the_page_is_served_to_this_machine_alone_and_nothing_else_is(run: Path) -> None:
    with PageServer(run / "listen.html", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert server.server_address[0] == "127.0.0.1"
        own = server.address.removeprefix(f"http://127.0.0.1:{server.server_port}")

        def get(path: str, host: str = "") -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request("GET", path, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert get(own) == (200, (run / "listen.html").read_bytes())
        assert get(own, "localhost:9999")[0] == 200  # the tunnel's other end
        for path in ("/", "/listen.html", "/../votes.json", own + "/.."):
            assert get(path)[0] == 404
        assert get(own, f"evil.example:{server.server_port}")[0] == 404
        with pytest.raises(UsageError, match=rf"Port {server.server_port} cannot be used"):
            PageServer(run / "listen.html", server.server_port)
        server.shutdown()
