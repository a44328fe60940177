"""The report of a run: one complete page that tells nobody where things lie."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fishtune.core.cli.app import run as command
from fishtune.core.config.settings import TrainSettings
from fishtune.core.errors import UsageError
from fishtune.core.events import CheckpointSaved, Event, Reporter, Started, Step, Validation
from fishtune.core.jobs.record import Place
from fishtune.core.jobs.start import new_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.pipeline.history import RunHistory
from fishtune.core.report.curves import thinned
from fishtune.core.report.run.curve import draw_curve
from fishtune.core.report.run.page import write_report
from fishtune.core.stages.registry import StageName

from .browser_kit import chromium, needs_browser
from .listening_kit import HOSTILE, make_run
from .training_kit import write_shards

VOID = {"meta", "audio", "br"}


class Reader(HTMLParser):
    """Collects texts, tags with their attributes, and whether every element is closed."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def run(tmp_path: Path) -> Place:
    """An auditioned run that was resumed after step 100."""
    folder = make_run(tmp_path)
    place = Place(results=folder.parent, project=folder.name)
    protos = write_shards(tmp_path / "protos", {"ANN": [215, 215], "BOB": [86]})
    settings = TrainSettings(
        project=place.project,
        results=place.results,
        base=tmp_path / "s1-mini",
        protos=protos,
        learning_rate=0.5,
    )

    def step(number: int) -> Step:
        return Step(
            step=number, total_steps=200, loss=9 - number / 50, base_loss=1, semantic_loss=0, learning_rate=1
        )

    def held_out(number: int, loss: float) -> Validation:
        return Validation(step=number, loss=loss, base_loss=loss, semantic_loss=0, top_5_accuracy=0.5)

    told: list[list[Event]] = [
        [held_out(0, 6.0), *map(step, range(1, 101)), held_out(100, 5.0), CheckpointSaved(step=100, path="")],
        [*map(step, range(101, 201)), held_out(200, 4.5), CheckpointSaved(step=200, path="")],
    ]
    for events in told:
        with new_job(StageName.TRAIN, settings, place) as (job, _):
            writer = EventWriter(job.events_path)
            for event in (Started(stage="train"), *events):
                writer.write(event)
            writer.close()
    return place


def test_a_report_tells_the_whole_of_a_run_and_nothing_of_the_machine(run: Place, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(run, page, Reporter())
    found = Reader(page)
    text = "\n".join(found.texts)
    assert not found.open
    for part in ("Run my-voice", "Recommended: step 100.", "6.000", "4.500", "resumed after step 100"):
        assert part in text, part
    assert "learning_rate\n0.5" in text and "base\ns1-mini" in text
    assert "clips\n3" in text and "0.4 minutes" in text
    assert str(tmp_path) not in page.read_text(encoding="utf-8")
    assert len(found.of("svg")) == 1 and len(found.of("path")) == 2


def test_a_report_replaces_an_earlier_one_and_nothing_else(run: Place, tmp_path: Path) -> None:
    page, other = tmp_path / "report.html", tmp_path / "fishtune.toml"
    write_report(run, page, Reporter())
    write_report(run, page, Reporter())
    other.write_text('name = "mine"', encoding="utf-8")
    with pytest.raises(UsageError, match="exists already, and fishtune did not write it"):
        write_report(run, other, Reporter())
    assert other.read_text(encoding="utf-8") == 'name = "mine"'


def test_all_held_out_losses_are_on_the_curve() -> None:
    def at(step: int, loss: float) -> Validation:
        return Validation(step=step, loss=loss, base_loss=loss, semantic_loss=0, top_5_accuracy=0.5)

    rising = RunHistory(validations={step: at(step, 5.0 + step) for step in range(5)})
    drawn = draw_curve(rising, None, "losses")
    assert drawn is not None
    heights = [float(point.attrib["cy"]) for point in drawn.iter("circle")]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 5


def test_a_report_runs_nothing_loads_nothing_and_escapes_what_is_foreign(run: Place, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(run, page, Reporter())
    found = Reader(page)
    assert not found.of("script") and not found.of("img")
    assert HOSTILE in found.texts
    sounds = [attributes["src"] or "" for attributes in found.of("audio")]
    assert sounds and all(source.startswith("data:audio/mpeg;base64,") for source in sounds)
    content = page.read_text(encoding="utf-8")
    assert not re.findall(r"https?://", content)
    assert "default-src 'none'; script-src 'none'" in (found.of("meta")[2]["content"] or "")


def test_a_report_speaks_korean_where_that_is_asked_for(
    run: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["report", "my-voice", "--language", "ko"]) == 0
    found = Reader(run.folder / "report.html")
    assert found.of("html") == [{"lang": "ko"}]
    assert "체크포인트 선택" in found.texts


def test_a_run_without_audition_or_data_has_a_report_too(run: Place, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(run.folder / "audition")
    shutil.rmtree(tmp_path / "protos")
    page = tmp_path / "report.html"
    write_report(run, page, Reporter())
    found = Reader(page)
    assert not found.of("audio")
    assert any("not at its place any more" in text for text in found.texts)


def test_a_long_curve_is_thinned_to_means() -> None:
    curve = thinned([(step, float(step % 2)) for step in range(10_000)])
    assert len(curve) <= 400
    assert all(abs(loss - 0.5) < 0.05 for _, loss in curve)
    assert thinned([(1, 2.0), (2, float("nan"))]) == [(1, 2.0)]


@needs_browser
def test_the_tables_of_a_report_fit_a_telephone(run: Place, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(run, page, Reporter())
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 390, "height": 800})
        shown.goto(page.as_uri())
        tables = shown.evaluate(
            "[...document.querySelectorAll('.scroll:has(table)')].map(e => [e.scrollWidth, e.clientWidth])"
        )
        assert len(tables) == 5 and all(wide <= room for wide, room in tables)
        speakers = shown.locator(".heard td[data-speaker]").evaluate_all(
            "all => all.map(e => e.dataset.speaker)"
        )
        assert {"base", "real recordings", "step 100"} == set(speakers)
