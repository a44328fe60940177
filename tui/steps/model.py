"""Step 2: the base model, found or downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text
from textual import events
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Static

from ...core.config.presets import model_preset, preset_names
from ...core.config.project import Project
from ...core.config.settings import MODELS_FOLDER, DownloadSettings, ModelOptions, VerifySettings
from ...core.errors import FishtuneError
from ...core.events import Finished
from ...core.hub.credentials import token_is_set
from ...core.hub.transfer import PARTIAL_FOLDER, DownloadRecord, read_record
from ...core.model.families import family_of_name
from ...core.pipeline.seen import model_files
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ..access import project_screen
from ..catalogue import _, ngettext
from ..dialogs.prompt import PromptScreen
from ..models_found import FoundModel, models_in
from ..project_state import ShownStep
from ..trouble import in_thread
from ..widgets.form import Field, Form, assign
from ..widgets.panel import panel
from ..widgets.table import Table
from ..wording import fit, harmless, plain, size
from .stage import StagePane

_WIDE = 108
"""Columns that the settings and whole file names of either model need beside one another."""


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
    ModelPane #offers { max-height: 8; margin: 0 0 1 0; display: none; }
    ModelPane #files { max-height: 12; margin: 1 0 0 0; }
    ModelPane #found { max-height: 7; margin: 1 0 0 0; }
    ModelPane #parts, ModelPane #choice, ModelPane #disk { height: auto; }
    ModelPane Form .row Label { width: 14; }
    ModelPane.-wide #parts { layout: horizontal; }
    ModelPane.-wide #choice { width: 1fr; }
    ModelPane.-wide #disk { width: 1fr; margin: 0 0 0 2; }
    ModelPane.-wide #files { margin: 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._token = ""
        self._token_found = True
        """Whether the hub's own places have a token; what has not been looked at is not asked for."""
        self._usable: list[Path] = []
        """Whole base models that lie here, and that the project does not use yet."""
        self._sound = ""  # what the verification found that ended here

    def compose_before(self) -> Iterable[Widget]:
        choice = [*super().compose_before(), Static("", id="where", markup=False)]
        offers = Table(
            [(_("to download"), None, "left"), (_("size"), 9, "right"), (_("licence"), None, "left")],
            id="offers",
            enter_does=_("Choose"),
        )
        found = Table(
            [(_("directory"), None, "left"), (_("what is in it"), None, "left")],
            id="found",
            enter_does=_("Use"),
        )
        files = Table(
            [(_("file"), None, "left"), (_("size"), 10, "right"), (_("state"), None, "left")], id="files"
        )
        disk = Container(panel(files, _("Files")), id="disk")
        yield panel(offers, _("Models"))
        yield Container(Container(*choice, id="choice"), disk, id="parts")
        yield panel(found, _("Model directories found here"), ruled=True)

    def on_resize(self, event: events.Resize) -> None:
        """Put what is chosen beside what is on the disk where there is room."""
        self.set_class(event.size.width >= _WIDE, "-wide")

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
            files, found, record = files_of(project), models_near(project), read_record(project.base)
            self._token_found = token_is_set()
            self.app.call_from_thread(self._show, files, found, record)

        in_thread(self, work, self.notice.show_error, "directories")

    def _show(
        self,
        files: list[tuple[str, str, str]],
        found: list[FoundModel],
        record: DownloadRecord | None,
    ) -> None:
        self._usable = [model.path for model in found if model.is_base and model.path != self.project.base]
        self.show_buttons()
        base = str(self.project.base)
        where = "" if self.is_done or base in self.sentence() else harmless(base)
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
        offers = self.query_one("#offers", Table)
        offers.display = not self.is_done
        offers.show_rows(_offers())
        self.query_one("#files", Table).show_rows((row[0], row) for row in files)
        table = self.query_one("#found", Table)
        table.display = bool(found)
        table.show_rows(
            (str(model.path), (plain(self.near(model.path)), plain(model.what))) for model in found
        )

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        chosen = str(event.row_key.value)
        if event.data_table.id == "found":
            self._use(Path(chosen))
        elif event.data_table.id == "offers":
            assign(self.project.model, "name", None if chosen == ModelOptions().name else chosen)
            self._keep()

    def _use(self, path: Path) -> None:
        self.project.model.path = Path(self.near(path))
        self._keep()

    def _keep(self) -> None:
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

    def own_buttons(self) -> list[tuple[str, str]]:
        shown = super().own_buttons()
        if self.is_done:
            return [*shown[:-1], ("verify", _("Verify"))]
        token = ("token", _("Token…"))
        if self._usable:
            return [token, *shown, ("use", _("Use {model}").format(model=fit(self._usable[0].name, 24)))]
        if not self._token and not self._token_found and self.project.model.name in preset_names("models"):
            return [*shown, token]  # first of all its licence is to be accepted
        return [token, *shown]

    def press(self, button: str) -> None:
        match button:
            case "token":
                self._ask_token()
            case "verify":
                self._verify()
            case "use":
                self._use(self._usable[0])
            case _:
                super().press(button)

    def _ask_token(self) -> None:
        def take(answer: str | None) -> None:
            if answer is not None:
                self._token = answer
                self.show_buttons()
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
            self.end_monitor()
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


def _offers() -> list[tuple[str, tuple[str, str, str]]]:
    """Return (key, cells) of the models that can be downloaded by name."""
    rows = []
    for name in preset_names("models"):
        with contextlib.suppress(FishtuneError):  # a preset of the user's own, perhaps
            preset = model_preset(name)
            amount = size(preset.download_size) if preset.download_size else "–"
            rows.append((name, (name, amount, preset.licence)))
    return rows


def models_near(project: Project) -> list[FoundModel]:
    """Return the base models in the usual folders near the project."""
    near = [project.base.parent, project.folder / MODELS_FOLDER, project.folder.parent / MODELS_FOLDER]
    return models_in([*near, Path.cwd() / MODELS_FOLDER])


def _soundness(summary: dict[str, Any]) -> str:
    """Return what a verification read, in words; nothing where its summary is damaged."""
    try:
        tensors, files = int(summary["tensors"]), len(summary["files"])
    except (LookupError, TypeError, ValueError):
        return ""
    return _("Sound: {tensors} tensors fit the configuration, {files} read.").format(
        tensors=tensors, files=ngettext("{number} file", "{number} files", files).format(number=files)
    )
