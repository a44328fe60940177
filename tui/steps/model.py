"""Step 2: the base model, found or downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.widget import Widget
from textual.widgets import DataTable, Static

from ...core.config.presets import model_preset, preset_names
from ...core.config.project import Project
from ...core.config.settings import MODELS_FOLDER, DownloadSettings, ModelOptions, VerifySettings
from ...core.errors import FishtuneError
from ...core.events import Finished
from ...core.hub.transfer import PARTIAL_FOLDER, DownloadRecord, read_record
from ...core.model.families import family_of_name, read_configuration
from ...core.pipeline.steps import StepName, model_files
from ...core.stages.registry import StageName
from ..access import project_screen
from ..catalogue import _, ngettext
from ..dialogs.prompt import PromptScreen
from ..project_state import ShownStep
from ..trouble import in_thread
from ..widgets.form import Field, Form
from ..widgets.table import Table
from ..wording import harmless, plain, size
from .stage import StagePane

_MOST_FOUND = 50


class ModelPane(StagePane):
    """The directory and what is in it; directories found nearby; download, token, verification."""

    step = StepName.MODEL
    stage = StageName.DOWNLOAD
    fields = (
        Field("model", "name"),
        Field("model", "path"),
        Field("model", "revision"),
    )
    DEFAULT_CSS = """
    ModelPane #where { height: auto; color: $text-muted; }
    ModelPane #files { max-height: 8; margin: 1 0 0 0; }
    ModelPane #found { max-height: 6; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._token = ""
        self._sound = ""  # what the verification found that ended here

    def compose_below_form(self) -> Iterable[Widget]:
        yield Static("", id="where", markup=False)
        yield Table(
            [(_("file"), None, "left"), (_("size"), 10, "right"), (_("state"), None, "left")], id="files"
        )
        yield Static(
            Text(_("Model directories found here")), classes="heading", markup=False, id="found-title"
        )
        yield Table([(_("directory"), None, "left"), (_("what is in it"), None, "left")], id="found")

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        if self._sound and self.is_done and not self.notice.text:
            self.notice.show_plain(self._sound)
        self._inspect()

    def settings_changed(self) -> None:
        self._sound = ""
        self.query_one(Form).show_values()  # the directory follows the name
        self._inspect()

    def _inspect(self) -> None:
        project = self.project

        def work() -> None:
            files, found, record = files_of(project), model_directories(project), read_record(project.base)
            self.app.call_from_thread(self._show, files, found, record)

        in_thread(self, work, self.notice.show_error, "directories")

    def _show(
        self,
        files: list[tuple[str, str, str]],
        found: list[tuple[Path, str]],
        record: DownloadRecord | None,
    ) -> None:
        where = "" if self.is_done else harmless(self.project.base)  # then the sentence on top says it
        if record is not None:
            where = (where + "\n" if where else "") + _(
                "from {repository} at {revision}; licence {licence}"
            ).format(
                repository=harmless(record.repository),
                revision=harmless(record.revision)[:12],
                licence=harmless(record.licence or "–"),
            )
        line = self.query_one("#where", Static)
        if str(line.content) != where:
            line.update(Text(where))
            line.display = bool(where)
        self.query_one("#files", Table).show_rows((row[0], row) for row in files)
        table = self.query_one("#found", Table)
        table.display = self.query_one("#found-title").display = bool(found)
        table.show_rows((str(path), (plain(self.near(path)), plain(what))) for path, what in found)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.data_table.id != "found":
            return
        path = Path(str(event.row_key.value))
        folder = self.project.folder
        self.project.model.path = path.relative_to(folder) if path.is_relative_to(folder) else path
        self.query_one(Form).show_values()
        project_screen(self).save_project()

    def all_fields(self) -> tuple[Field, ...]:
        name, *others = self.fields
        usual, model = ModelOptions().name, self.project.model
        names = [each for each in preset_names("models") if each != usual]
        if "name" in model.model_fields_set:  # a repository that the project file names stays
            names.append(model.name)
        options = (("", usual), *((each, each) for each in dict.fromkeys(names)))
        return (replace(name, options=options), *others)

    def inherited(self, field: Field) -> Any:
        return self.near(self.project.base) if field.name == "path" else super().inherited(field)

    # download, token, verification

    def settings(self) -> DownloadSettings:
        return self.project.download_settings()

    def verb(self) -> str:
        return _("Verify") if self.is_done else _("Download")

    def main_label(self) -> str:
        return self.verb() if self.is_done else super().main_label()

    def buttons(self) -> list[tuple[str, str]]:
        shown = super().buttons()
        if self.running:
            return shown
        if self.is_done:
            return [*shown[:-1], ("verify", _("Verify"))]
        return [("token", _("Token…")), *shown]

    def press(self, button: str) -> None:
        match button:
            case "token":
                self._ask_token()
            case "verify":
                self._verify()
            case _:
                super().press(button)

    def _ask_token(self) -> None:
        def take(answer: str | None) -> None:
            if answer is not None:
                self._token = answer
                self.notice.show_plain(
                    _("The token is kept until you leave and given to the download alone.") if answer else ""
                )

        page = "https://huggingface.co/" + self._repository()
        explanation = _(
            "Accept the licence on {page} with your account, make a read token under Settings → Access "
            "Tokens, and paste it here. It is not shown and never written to disk; HF_TOKEN or hf auth login "
            "work too."
        ).format(page=page)
        self.app.push_screen(
            PromptScreen(_("Token of the model hub"), secret=True, explanation=explanation), take
        )

    def secrets(self) -> dict[str, str] | None:
        return {"HF_TOKEN": self._token} if self._token else None

    def _repository(self) -> str:
        try:
            return model_preset(self.project.model.name).repository
        except FishtuneError:
            return self.project.model.name

    def _verify(self) -> None:
        self._sound = ""
        self.start_stage(
            StageName.VERIFY,
            lambda: VerifySettings(directory=self.project.base, config_name=self.project.extract.config_name),
        )

    def job_ended(self) -> None:
        if self.job is None or self.job.record.stage != StageName.VERIFY or self.view is None:
            return
        with self.view.lock:
            end = self.view.end
        if isinstance(end, Finished):
            self.show_monitor(False)
            self._sound = _soundness(end.summary)

    def text_to_copy(self) -> str:
        focused = self.screen.focused
        if isinstance(focused, Table) and focused.id == "found" and focused.chosen is not None:
            return focused.chosen
        return str(self.project.base)

    def help_text(self) -> str:
        family = family_of_name(self.project.model.name)
        needed = [name for name in family.files if name not in family.optional_files]
        return _(
            "The base model is a directory with {files}; "
            "one that you have already is found or can be named. It is downloaded from a repository that may "
            "be gated (S1-mini 3.6 GB, S2-Pro 11 GB): then accept its licence ({licence}) there once, and "
            "give a token.\n"
            "A broken download resumes where it was, and every file is checked against the hub's hash.\n"
            "Verify reads every file and holds the weights against the configuration."
        ).format(files=", ".join(needed), licence=family.licence)


def files_of(project: Project) -> list[tuple[str, str, str]]:
    """Return (name, size, state) of the model's files."""
    try:
        names, may_lack = model_files(project)
    except FishtuneError:
        family = family_of_name(project.model.name)
        names, may_lack = family.files, family.optional_files
    partial = project.base / PARTIAL_FOLDER
    rows = []
    for name in names:
        file = project.base / name
        arrived = list(partial.glob(f"{name}.*")) if partial.is_dir() else []
        if file.is_file():
            rows.append((name, size(file.stat().st_size), _("there")))
        elif arrived:
            rows.append((name, size(arrived[0].stat().st_size), _("partly there, resumes")))
        else:
            rows.append((name, "–", _("optional") if name in may_lack else _("missing")))
    return rows


def model_directories(project: Project) -> list[tuple[Path, str]]:
    """Return directories near the project that hold a base model, with what is in each."""
    parents = [project.base.parent, project.folder / MODELS_FOLDER, project.folder.parent / MODELS_FOLDER]
    parents.append(Path.cwd() / MODELS_FOLDER)
    found: dict[Path, str] = {}
    for parent in dict.fromkeys(parents):
        try:
            with os.scandir(parent) as entries:
                folders = sorted(Path(entry.path) for entry in entries if entry.is_dir())
        except OSError:
            continue
        for folder in folders[:_MOST_FOUND]:
            what = describe_directory(folder)
            if what:
                found[folder] = what
    return list(found.items())[:_MOST_FOUND]


def describe_directory(folder: Path) -> str:
    """Return what a checkpoint directory holds in a few words, nothing where it is none."""
    try:
        found = read_configuration(folder)
        shape = found.read_shape()
    except FishtuneError:
        return ""
    parts = [_("{layers} layers of {dim}").format(layers=shape.n_layer, dim=shape.dim)]
    if folder.with_name(f"{folder.name}.fishtune.json").is_file():
        parts.append(_("merged by fishtune"))
    wanted = [name for name in found.family.needed_files(folder) if name not in found.family.optional_files]
    lacking = [name for name in wanted if not (folder / name).is_file()]
    if lacking:
        parts.append(_("lacks {files}").format(files=", ".join(lacking)))
    return ", ".join(parts)


def _soundness(summary: dict[str, Any]) -> str:
    """Return what a verification read, in words; nothing where its summary is damaged."""
    try:
        tensors, files = int(summary["tensors"]), len(summary["files"])
    except (LookupError, TypeError, ValueError):
        return ""
    return _("Sound: {tensors} tensors fit the configuration, {files} read.").format(
        tensors=tensors, files=ngettext("{number} file", "{number} files", files).format(number=files)
    )
