"""[notify]: who is told of a job's end, its failure and of guards; the webhook's address stays secret."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.config.project import PROJECT_FILE, Project
from fishtune.core.errors import FishtuneError, SettingsError
from fishtune.core.events import Event, Failed, Finished, Log, Started, Stopped, Warned
from fishtune.core.jobs.execute import run_job
from fishtune.core.jobs.notify import notifiers_of
from fishtune.core.jobs.record import Job, Place
from fishtune.core.jobs.start import new_job

from .job_kit import count_settings, register_for_a_test
from .job_stage import STAGE

SECRET = "s3cr3t-p4th"


@dataclass
class Hook:
    """A webhook on this machine: what it was told, and how it answers."""

    address: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    location: str = ""
    silent: threading.Event | None = None


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook that answers until the test ends."""
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.told.append(content | {"path": self.path, "type": self.headers["Content-Type"]})
            if made.silent is not None:
                made.silent.wait(30)
            self.send_response(made.status)
            if made.location:
                self.send_header("Location", made.location)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.address = f"http://127.0.0.1:{server.server_port}/{SECRET}"
    yield made
    if made.silent is not None:
        made.silent.set()
    server.shutdown()
    server.server_close()


def write_project(folder: Path, **notify: Any) -> None:
    """Write a project whose jobs are told of."""
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in notify.items())
    (folder / PROJECT_FILE).write_text(f'name = "yoona"\n[notify]\n{lines}\n', encoding="utf-8")


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Job:
    """Run the test's stage as a job of the project and return it, however it ended."""
    register_for_a_test(monkeypatch)
    place = Place(results=tmp_path / "results", project="yoona")
    made = new_job(STAGE, count_settings(tmp_path, items=2, **settings), place)
    with made as (job, locks), contextlib.suppress(FishtuneError):
        run_job(job, locks, redirect=False)
    return job


def notify(tmp_path: Path, *events: Event) -> list[Event]:
    """Give events of a job to what the project asks for and return what it said of problems."""
    folder = tmp_path / "results/yoona/jobs/0001-train"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"id": "0001-train", "stage": "train", "project": "yoona", "settings": {}, "folder": str(folder)}
    record |= {"command": [], "host": "here", "versions": {}}
    (folder / "job.json").write_text(json.dumps(record), encoding="utf-8")
    said: list[Event] = []
    for listener in notifiers_of(Job.open(folder), said.append):
        for event in events:
            listener(event)
    return said


def test_the_end_of_a_job_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    write_project(tmp_path, webhook=hook.address)
    job = run(tmp_path, monkeypatch)
    (told,) = hook.told
    assert (told["event"], told["run"], told["stage"], told["job"]) == ("end", "yoona", STAGE, job.id)
    assert told["text"] == f"yoona: {STAGE} is done."
    assert told["type"] == "application/json"


def test_a_failure_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    write_project(tmp_path, webhook=hook.address)
    run(tmp_path, monkeypatch, way="fail")
    (told,) = hook.told
    assert told["event"] == "failure"
    assert told["text"].startswith(f"yoona: {STAGE} failed. ")
    assert len(told["text"]) > len(f"yoona: {STAGE} failed. ")


def test_guards_are_told_while_the_job_goes_on_and_other_warnings_are_not(tmp_path: Path, hook: Hook) -> None:
    write_project(tmp_path, webhook=hook.address)
    guard = Warned(message="The held-out loss rises.", hint="Stop.", guard=True)
    notify(
        tmp_path, Started(stage="train"), Warned(message="Something else."), guard, Stopped(saved="Saved.")
    )
    assert {told["event"]: told["text"] for told in hook.told} == {
        "guard": "yoona: The held-out loss rises.",
        "end": "yoona: train was stopped. Saved.",
    }


def test_a_run_of_training_marks_what_its_guards_say() -> None:
    from .recorder import Recorder

    reporter = Recorder()
    reporter.guard("The loss rises since step {step}.", "Stop.", step=3)
    (event,) = reporter.events
    assert isinstance(event, Warned) and event.guard
    assert event.message == "The loss rises since step 3."


@pytest.mark.parametrize(
    ("choice", "events"),
    [
        ({"end": False}, [Finished()]),
        ({"failure": False}, [Failed(error="DataError", message="It failed.")]),
        ({"guard": False, "end": False}, [Warned(message="x", guard=True), Finished()]),
        ({"after_minutes": 1}, [Finished()]),
    ],
)
def test_what_was_not_asked_for_is_not_told(
    tmp_path: Path, hook: Hook, choice: dict[str, Any], events: list[Event]
) -> None:
    write_project(tmp_path, webhook=hook.address, **choice)
    notify(tmp_path, Started(stage="train"), *events)
    assert hook.told == []


@pytest.mark.parametrize(
    ("status", "location", "problem"), [(500, "", "HTTP 500"), (302, "http://127.0.0.1:9/", "HTTP 302")]
)
def test_a_webhook_that_refuses_is_only_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hook: Hook,
    status: int,
    location: str,
    problem: str,
) -> None:
    write_project(tmp_path, webhook=hook.address)
    hook.status, hook.location = status, location
    job = run(tmp_path, monkeypatch)
    assert isinstance(job.refresh().outcome(), Finished)
    assert f"The webhook was not told ({problem})." in job.log_path.read_text(encoding="utf-8")
    assert len(hook.told) == 1


def test_a_webhook_that_never_answers_holds_nobody_up(tmp_path: Path, hook: Hook) -> None:
    hook.silent = threading.Event()
    write_project(tmp_path, webhook=hook.address, timeout=0.2)
    said = notify(tmp_path, Started(stage="train"), Finished())
    assert said and all(isinstance(event, Log) and "not told" in event.message for event in said)


def test_nobody_there_is_only_logged(tmp_path: Path) -> None:
    write_project(tmp_path, webhook=f"http://127.0.0.1:9/{SECRET}")
    (said,) = notify(tmp_path, Finished())
    assert isinstance(said, Log) and said.message == "The webhook was not told (ConnectionRefusedError)."


@pytest.mark.parametrize("way", ["work", "fail"])
def test_the_address_is_in_nothing_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook, way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path, webhook=hook.address)
    hook.status = 500
    run(tmp_path, monkeypatch, way=way)
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET not in repr(Project.load(tmp_path).notify)


def test_a_wrong_address_is_an_error_that_does_not_show_it(tmp_path: Path) -> None:
    write_project(tmp_path, webhook=f"htps://chat.example/{SECRET}")
    with pytest.raises(SettingsError, match=r"notify\.webhook: write it as https://") as error:
        Project.load(tmp_path)
    assert SECRET not in str(error.value) + error.value.hint
    write_project(tmp_path, webhok=hook_like())
    with pytest.raises(SettingsError, match=r"did you mean webhook\?") as error:
        Project.load(tmp_path)
    assert SECRET not in str(error.value)


def hook_like() -> str:
    """Return an address that is a secret."""
    return f"https://chat.example/{SECRET}"


def test_saving_the_project_keeps_the_address(tmp_path: Path) -> None:
    write_project(tmp_path, webhook=hook_like())
    project = Project.load(tmp_path)
    project.train.epochs = 3
    project.save()
    assert Project.load(tmp_path).notify.webhook == hook_like()
