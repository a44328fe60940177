"""The project file: nothing half-typed gets into it, and what is on disk wins over what is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fishtune.core.config.project import Project
from fishtune.core.pipeline.steps import StepName
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.screens.project import ProjectScreen
from textual import events
from textual.widgets import Input
from wizard_helpers import FakeEngine, shown, until, until_open, until_shown

Make = Callable[..., Wizard]


async def opened(app: Wizard, key: str, field: str) -> tuple[ProjectScreen, Input]:
    screen = await until_open(app)
    screen.action_choose(int(key) - 1)
    await until(lambda: bool(screen.query(f"#{field}")), app)
    return screen, screen.query_one(f"#{field}", Input)


RATE = "field-train-learning-rate"


async def test_no_number_is_stored_half_typed(
    wizard: Make, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[float] = []
    save = Project.save

    def saving(self: Project) -> None:
        stored.append(self.train.learning_rate)
        save(self)

    monkeypatch.setattr(Project, "save", saving)
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        _screen, field = await opened(app, "5", RATE)
        field.focus()
        await pilot.press(*"1e-5")
        await pilot.pause()
        assert stored == [] and "learning_rate" not in project.file.read_text()
        await pilot.press("enter")
        await pilot.pause()
        assert set(stored) == {1e-5}
        assert Project.load(project.folder).train.learning_rate == 1e-5


async def test_the_focus_of_another_window_and_the_end_of_the_program_store_nothing_half_typed(
    wizard: Make, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        _screen, field = await opened(app, "5", RATE)
        field.focus()
        await pilot.press("1")
        app.post_message(events.AppBlur())
        await until(lambda: not app.app_focus, app)
        await pilot.pause()
        app.post_message(events.AppFocus())
        await until(lambda: app.focused is field, app)
        assert field.value == "1"
        await pilot.press("f1")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert field.value == "1"
        await pilot.press("ctrl+q")
    assert "learning_rate" not in project.file.read_text()


async def test_enter_stores_a_value_and_pressed_again_goes_on_to_the_main_button(
    wizard: Make, project: Project, engine: FakeEngine
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, field = await opened(app, "3", "field-extract-batch-size")
        field.focus()
        await pilot.press("7", "enter")
        await until(lambda: Project.load(project.folder).extract.batch_size == 7, app)
        assert app.focused is field
        await pilot.press("enter")
        await until(lambda: screen.pane is not None and app.focused is screen.pane.main_button, app)
        assert engine.started == []
        field.focus()
        await pilot.press(*"many", "enter", "enter")
        await until_shown(app, "Not stored: Clips per batch")
        await pilot.pause()
        assert app.focused is field, "what cannot be stored keeps whoever typed it"


async def test_a_wrong_value_stays_named_until_it_is_corrected_and_nothing_starts_with_it(
    wizard: Make, project: Project, engine: FakeEngine
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen, field = await opened(app, "3", "field-extract-batch-size")
        field.focus()
        await pilot.press(*"many", "tab")
        await until_shown(app, "Not stored: Clips per batch: a number is needed here.")
        assert field.value == "many" and screen.pane is not None
        screen.pane.press("run")
        await until_shown(app, "Note: Not stored: Clips per batch")
        assert engine.started == []
        field.focus()
        field.value = "99999999999999999999"
        await pilot.press("enter")
        await until_shown(app, "Not stored: Clips per batch")
        field.value = "4"
        await pilot.press("tab")
        await until(lambda: Project.load(project.folder).extract.batch_size == 4, app)
        assert "Not stored" not in shown(app)


async def test_a_file_that_is_edited_meanwhile_is_shown_used_and_never_overwritten(
    wizard: Make, project: Project, engine: FakeEngine
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen, field = await opened(app, "3", "field-extract-batch-size")
        project.file.write_text(
            project.file.read_text() + "\n[extract]\nbatch_seconds = 90\nbatch_size = 3\n"
        )
        await pilot.press("ctrl+r")
        await until(lambda: field.value == "3", app)
        project.file.write_text(project.file.read_text().replace("= 90", "= 70") + "\n[train]\nseed = 7\n")
        field.focus()
        field.value = "5"
        await pilot.press("enter")
        await until(lambda: Project.load(project.folder).extract.batch_size == 5, app)
        now = Project.load(project.folder)
        assert (now.extract.batch_seconds, now.train.seed) == (70, 7)
        project.file.write_text(project.file.read_text().replace("batch_size = 5", "batch_size = 6"))
        assert screen.pane is not None
        screen.pane.press("run")
        await until_shown(app, "fishtune.toml was changed on disk")
        assert screen.project.extract.batch_size == 6


async def test_coming_back_from_the_editor_is_enough(wizard: Make, project: Project) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True):
        _screen, field = await opened(app, "3", "field-extract-batch-size")
        app.post_message(events.AppBlur())
        await until(lambda: not app.app_focus, app)
        project.file.write_text(project.file.read_text() + "\n[extract]\nbatch_size = 3\n")
        app.post_message(events.AppFocus())
        await until(lambda: field.value == "3", app, 4)


async def test_a_field_that_is_only_looked_at_does_not_undo_a_change_on_disk(
    wizard: Make, project: Project
) -> None:
    project.extract.batch_size = 2
    project.save()
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        _screen, field = await opened(app, "3", "field-extract-batch-size")
        field.focus()
        await pilot.pause()
        project.file.write_text(project.file.read_text().replace("batch_size = 2", "batch_size = 9"))
        await pilot.press("tab")
        await pilot.press("ctrl+r")
        await until(lambda: field.value == "9", app)
    assert Project.load(project.folder).extract.batch_size == 9


@pytest.mark.parametrize("content", ["name = [", "", 'name = "yoona"\n[extract]\nbatch_size = 0\n', None])
async def test_a_file_that_cannot_be_used_is_named_left_alone_and_nothing_is_emptied(
    wizard: Make, project: Project, engine: FakeEngine, content: str | None
) -> None:
    whole = project.file.read_text()
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen, field = await opened(app, "3", "field-extract-batch-size")
        project.file.unlink()
        if content is not None:
            project.file.write_text(content)
        await pilot.press("ctrl+r")
        await until_shown(app, "fishtune.toml")
        assert "1 Dataset" in shown(app) and "Clips per batch" in shown(app)
        field.focus()
        field.value = "7"
        await pilot.press("enter")
        await pilot.pause()
        assert screen.pane is not None
        screen.pane.press("run")
        await until_shown(app, "Error:")
        assert engine.started == []
        assert (project.file.read_text() if project.file.exists() else None) == content
        project.file.write_text(whole)
        field.focus()
        field.value = "8"
        await pilot.press("enter")
        await until(lambda: Project.load(project.folder).extract.batch_size == 8, app)


async def test_another_name_in_the_file_opens_that_run(
    wizard: Make, project: Project, engine: FakeEngine
) -> None:
    engine.new_job(project, StageName.EXTRACT)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, _field = await opened(app, "3", "field-extract-batch-size")
        await until_shown(app, "Watch")
        project.file.write_text(project.file.read_text().replace('"yoona"', '"mira"'))
        await pilot.press("ctrl+r")
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen is not screen, app)
        await until(lambda: "fishtune · mira" in shown(app) and "Watch" not in shown(app), app)


async def test_the_wizard_writes_nothing_while_nothing_is_changed(wizard: Make, project: Project) -> None:
    project.file.write_text("# mine\n" + project.file.read_text())
    before = project.file.read_bytes()
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        for step in range(1, len(StepName) + 1):
            await pilot.press(str(step))
            await asyncio.sleep(0)
            await pilot.pause()
        for _number in range(20):
            await pilot.press("tab")
    assert project.file.read_bytes() == before


def test_a_project_made_in_the_wizard_begins_with_every_option_explained(tmp_path: Path) -> None:
    from fishtune.tui.screens.start import create_project

    project = create_project(tmp_path / "new")
    assert "\n#learning_rate = 0.0001\n" in project.file.read_text()
    assert Project.load(tmp_path / "new").model_dump() == Project.create(tmp_path, "new").model_dump()


def test_folders_of_nobody_are_no_error(tmp_path: Path) -> None:
    from fishtune.tui.dialogs.folders import subfolders
    from fishtune.tui.widgets.folder_suggester import complete_folder, expanded

    assert expanded("~nobody-here/x") == Path("~nobody-here/x")
    assert subfolders("~nobody-here/") == [] and complete_folder("~nobody-here/a\0") is None


async def test_the_focus_of_a_field_selects_its_content_so_that_typing_replaces_it(
    wizard: Make, project: Project
) -> None:
    project.extract.batch_size = 12
    project.save()
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        _screen, field = await opened(app, "3", "field-extract-batch-size")
        field.focus()
        await until(lambda: field.selected_text == "12", app)
        await pilot.press("5", "enter")
        await until(lambda: Project.load(project.folder).extract.batch_size == 5, app)


async def test_the_last_changes_are_undone_one_after_another_in_form_and_file(
    wizard: Make, project: Project
) -> None:
    project.file.write_text("# mine\n" + project.file.read_text() + "\n[extract]\nbatch_size = 3  # enough\n")
    whole = project.file.read_text()
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, size = await opened(app, "3", "field-extract-batch-size")
        seconds = screen.query_one("#field-extract-batch-seconds", Input)
        for field, typed in ((size, "7"), (size, "8"), (seconds, "90")):
            field.focus()
            field.value = typed
            await pilot.press("enter")
        await until(lambda: Project.load(project.folder).extract.batch_seconds == 90, app)
        screen.focus_steps()
        await pilot.press("u")
        await until_shown(app, "Undone. Seconds per batch: not set")
        assert seconds.value == "" and "batch_seconds" not in project.file.read_text()
        await pilot.press("ctrl+z")
        await until_shown(app, "Undone. Clips per batch: 7")
        assert size.value == "7" and "batch_size = 7  # enough" in project.file.read_text()
        await pilot.press("ctrl+z")
        await until_shown(app, "Undone. Clips per batch: 3")
        assert project.file.read_text() == whole
        await pilot.press("ctrl+z")
        await until_shown(app, "Nothing was changed here that could be undone.")


async def test_undoing_takes_back_what_is_typed_before_what_is_stored(wizard: Make, project: Project) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        _screen, field = await opened(app, "3", "field-extract-batch-size")
        field.focus()
        await pilot.press("6", "enter")
        await until(lambda: Project.load(project.folder).extract.batch_size == 6, app)
        await pilot.press("7", "x", "ctrl+z")
        await until(lambda: field.value == "6", app)
        assert Project.load(project.folder).extract.batch_size == 6
        await pilot.press("ctrl+z")
        await until(lambda: field.value == "", app)
        assert Project.load(project.folder).extract.model_fields_set == set()


async def test_a_value_that_was_edited_in_the_file_since_is_not_undone(
    wizard: Make, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, field = await opened(app, "3", "field-extract-batch-size")
        field.focus()
        await pilot.press("6", "enter")
        await until(lambda: Project.load(project.folder).extract.batch_size == 6, app)
        project.file.write_text(project.file.read_text().replace("batch_size = 6", "batch_size = 9"))
        screen.focus_steps()
        await pilot.press("u")
        await until_shown(app, "Clips per batch was changed in the file since, and stays.")
        assert field.value == "9" and "batch_size = 9" in project.file.read_text()
