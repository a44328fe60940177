"""Korean takes two cells a character: nothing is cut where there is room, and columns stay in line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fishtune.core.events import ClipsListed, Finished
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.catalogue import use_language
from fishtune.tui.screens.help import HelpScreen
from fishtune.tui.widgets.choice import Choice
from fishtune.tui.widgets.data_view import DataView
from fishtune.tui.widgets.picker import Picker
from fishtune.tui.widgets.training import in_columns
from fishtune.tui.wizard_settings import WizardSettings
from fishtune.tui.wording import fit_words
from rich.cells import cell_len
from staged_project import StagedEngine, staged_project
from textual.widgets import DataTable
from wizard_helpers import shown, until, until_open, until_shown

Make = Callable[..., Wizard]


@pytest.fixture(autouse=True)
def korean() -> Iterator[None]:
    use_language("ko")
    yield
    use_language("en")


async def test_the_six_steps_of_the_start_page_are_not_cut(wizard: Make) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)):
        await until_shown(app, "1 데이터셋  녹음 검사와 정규화", "2 모델      기본 모델")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_no_line_of_the_keys_in_the_help_is_cut(wizard: Make, size: tuple[int, int]) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=size) as pilot:
        await pilot.press("f1")
        await until(lambda: isinstance(app.screen, HelpScreen), app)
        for _page in range(4):
            dialog = [line for line in shown(app).splitlines() if line.count("│") == 4]
            assert not [line for line in dialog if "…" in line.split("│")[2]]
            await pilot.press("pagedown")
            await pilot.pause()


async def test_every_column_of_the_checkpoints_is_whole(tmp_path: Path, golden: Path) -> None:
    engine = StagedEngine()
    project = staged_project(tmp_path / "yoona", golden, engine)
    app = Wizard(WizardSettings(language="ko"), project=project.folder, engine=engine)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press("6")
        await until_shown(app, "80 스텝")
        table = app.screen.query_one(Picker).query_one(DataTable)
        await until(lambda: table.virtual_size.width <= table.size.width, app)
        assert "18.1 MiB" in shown(app)


def test_a_column_of_numbers_that_needs_more_than_its_share_gets_it() -> None:
    pairs = [
        ("최저 검증 손실", "6.680 (120스텝)"),
        ("검증 top-5", "30 %"),
        ("학습률", "1.00e-04"),
        ("토큰/초", "9"),
    ]
    lines = in_columns(pairs, 2, 56).plain.splitlines()
    assert max(map(cell_len, lines)) <= 56
    assert lines[0].startswith("최저 검증 손실 ") and lines[0].endswith(" 1.00e-04")
    assert len({cell_len(line.partition("학습률")[0].partition("토큰")[0]) for line in lines}) == 1


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_a_long_speaker_s_name_pushes_no_column_off_the_page(
    tmp_path: Path, golden: Path, size: tuple[int, int]
) -> None:
    engine = StagedEngine()
    project = staged_project(tmp_path / "yoona", golden, engine)
    speaker = "아주긴이름의화자" * 8
    numbers = {"clips": 7, "seconds": 60.0, "median_seconds": 4.1, "longest_seconds": 9.0, "loudness": -21.7}
    summary = {
        "data": str(project.data),
        "clips": 7,
        "seconds": 60.0,
        "speakers": [{"speaker": speaker, **numbers}],
        "findings": [],
    }
    engine.say(
        engine.new_job(project, StageName.VALIDATE), [ClipsListed(clips=[]), Finished(summary=summary)]
    )
    app = Wizard(WizardSettings(language="ko"), project=project.folder, engine=engine)
    async with app.run_test(size=size) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until(lambda: screen.pane is not None and bool(screen.pane.query(DataView)), app)
        view = screen.query_one(DataView)
        view.query_one("#view", Choice).value = "numbers"
        view._arrange()
        await until_shown(app, "-21.7", " 아주긴이")
        assert "…" in next(line for line in shown(app).splitlines() if "-21.7" in line)


@pytest.mark.parametrize(
    ("sentence", "width", "shown_as"),
    [
        ("낮은 학습률, 적은 반복", 30, "낮은 학습률, 적은 반복"),
        ("낮은 학습률, 적은 반복", 21, "낮은 학습률, 적은…"),
        ("낮은 학습률, 적은 반복", 16, "낮은 학습률…"),
        ("words and rhythm stay", 14, "words and…"),
        ("가나다라마바사", 7, "가나다…"),
    ],
)
def test_a_sentence_is_cut_behind_a_whole_word(sentence: str, width: int, shown_as: str) -> None:
    assert fit_words(sentence, width) == shown_as
    assert cell_len(shown_as) <= width
