"""Step 1: the recordings, what is in them and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import DataTable, Label, Static

from ...core.config.settings import LoudnessNormSettings, ValidateSettings
from ...core.dataset.findings import Finding, Severity
from ...core.errors import FishtuneError
from ...core.files import write_text
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import StepName, StepState
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..catalogue import _, mark, ngettext, sentence
from ..dialogs.clip import ClipScreen
from ..dialogs.folders import FolderScreen
from ..dialogs.prompt import PromptScreen
from ..dialogs.proofreading import ProofreadingScreen
from ..project_state import ShownStep
from ..report import newest_report, unfinished_normalisation
from ..run_view import RunView
from ..trouble import in_thread
from ..widgets.choice import Choice
from ..widgets.detailed_table import DetailedTable
from ..widgets.form import Field
from ..widgets.table import Table
from ..wording import count, decimal, duration, harmless, plain
from .stage import StagePane

_FILTERS = (
    ("all", mark("all findings")),
    ("error", mark("errors only")),
    ("warning", mark("warnings only")),
    ("left-out", mark("clips left out")),
)
_MOST_ROWS = 2000


class DatasetPane(StagePane):
    """Folder, speakers, findings."""

    step = StepName.DATASET
    stage = StageName.VALIDATE
    fields = (Field("dataset", "path"),)
    DEFAULT_CSS = """
    DatasetPane #speakers { max-height: 20vh; }
    DatasetPane #findings { max-height: 40vh; }
    DatasetPane #filter-row { height: 1; margin: 1 0 0 0; }
    DatasetPane #filter-row Label { padding: 0 2 0 0; text-style: bold; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._report: dict[str, Any] | None = None
        self._report_job = ""
        self._unfinished: LoudnessNormSettings | None = None
        """What continues a normalisation that ended early."""
        self._shown: list[Finding] = []

    def compose_below_form(self) -> Iterable[Widget]:
        yield Table(
            [
                (_("speaker"), None, "left"),
                (_("clips"), 6, "right"),
                (_("length"), None, "right"),
                (_("median clip"), None, "right"),
                (_("loudness"), None, "right"),
            ],
            id="speakers",
        )
        with Horizontal(id="filter-row"):
            yield Label(Text(_("Findings")))
            yield Choice(
                [(value, _(label)) for value, label in _FILTERS], "all", wizard(self).glyphs, id="filter"
            )
        yield DetailedTable(
            [(_("state"), 10, "left"), (_("file"), None, "left"), (_("what"), None, "left")], id="findings"
        )
        yield Static("", id="findings-note", classes="quiet", markup=False)

    # the report of the newest check

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        project = self.project

        def work() -> None:
            unfinished = unfinished_normalisation(project)
            if unfinished != self._unfinished:
                self.app.call_from_thread(self._take_unfinished, unfinished)
            job, report = newest_report(project)
            known = job.id if job is not None else ""  # "" also where the folder is another one now
            if known != self._report_job:
                self.app.call_from_thread(self._take_report, known, report)

        in_thread(self, work, self.notice.show_error, "report")

    def _take_unfinished(self, settings: LoudnessNormSettings | None) -> None:
        self._unfinished = settings
        self.show_buttons()

    def _take_report(self, job: str, report: dict[str, Any] | None) -> None:
        self._report_job, self._report = job, report
        self._show_report()
        if self.status is not None:
            super().show_status(self.status)

    def _show_report(self) -> None:
        report = self._report
        speakers = report["speakers"] if report else []
        self.query_one("#speakers", Table).show_rows(
            (
                speaker["speaker"],
                (
                    plain(speaker["speaker"]),
                    count(speaker["clips"]),
                    duration(speaker["seconds"]),
                    _("{seconds} s").format(seconds=decimal(speaker["median_seconds"], 1)),
                    f"{decimal(speaker['loudness'], 1)} LUFS",
                ),
            )
            for speaker in speakers
        )
        self._show_findings()

    def _show_findings(self) -> None:
        chosen = self.query_one("#filter", Choice).value
        table = self.query_one(DetailedTable)
        note = self.query_one("#findings-note", Static)
        if chosen == "left-out":
            self._shown = []
            keys = self.project.dataset.exclude
            table.show_rows(
                (f"left-out {key}", (_("left out"), plain(key), _("Enter shows it.")), "") for key in keys
            )
            note.update(Text("" if keys else _("No clip is left out.")))
            return
        found: list[Finding] = (self._report or {}).get("findings", [])
        self._shown = [item for item in found if chosen in ("all", item.severity.value)][:_MOST_ROWS]
        glyphs = wizard(self).glyphs
        signs = {
            Severity.ERROR: f"{glyphs.failed} {_('error')}",
            Severity.WARNING: f"{glyphs.stale} {_('warning')}",
        }
        data = self.project.data
        table.show_rows(
            (
                f"{number}",
                (
                    plain(signs[item.severity], "bold" if item.severity is Severity.ERROR else ""),
                    plain(_relative(item.path, data)),
                    plain(sentence(item.what)),
                ),
                f"{sentence(item.what)}\n→ {sentence(item.what_to_do)}",
            )
            for number, item in enumerate(self._shown)
        )
        if self._report is None:
            text = _("Nothing is checked yet.")
        elif not found:
            text = _("Nothing is wrong with these recordings.")
        else:
            more = len(found) - len(self._shown) if chosen == "all" else 0
            text = _("Enter shows the clip.") + (
                " " + _("{number} more are in the report.").format(number=more) if more else ""
            )
        note.update(Text(text))

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._show_findings()

    def sentence(self) -> str:
        text = super().sentence()
        if self._only_raw and not self.running:
            raw, _data = self._normalise_from_to()
            return _("The recordings in {raw} are to be normalised first.").format(raw=raw.name)
        if self.running or self._report is None:
            return text
        kinds = Counter(item.severity for item in self._report["findings"])
        bad, doubtful = kinds[Severity.ERROR], kinds[Severity.WARNING]
        errors = ngettext("{number} error", "{number} errors", bad).format(number=bad)
        warnings = ngettext("{number} warning", "{number} warnings", doubtful).format(number=doubtful)
        total = duration(self._report["seconds"])
        return f"{text} {total}; {errors}, {warnings}."

    def project_changed(self) -> None:
        super().project_changed()
        self._show_findings()

    # one finding in full

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.data_table.id != "findings":
            return
        key = str(event.row_key.value)
        finding = self._shown[int(key)] if key.isdigit() else None
        clip = clip_of(finding.path, self.project.data) if finding else key.removeprefix("left-out ")
        self.app.push_screen(ClipScreen(self.project, clip, finding), self._clip_decided)

    def _clip_decided(self, left_out: bool | None) -> None:
        if left_out is not None:
            project_screen(self).save_project()
            self._show_findings()

    # what can be done

    def settings(self) -> ValidateSettings:
        return ValidateSettings(
            data=self.project.data,
            text_extension=self.project.pack.text_extension,
            exclude=self.project.dataset.exclude,
        )

    def verb(self) -> str:
        return _("Check again") if self._report is not None else _("Check")

    def buttons(self) -> list[tuple[str, str]]:
        if self.running:
            return super().buttons()
        if self._only_raw:
            return [("choose", _("Folder…")), ("normalise", _("Normalise…"))]
        if self._is_unfinished:
            return [("choose", _("Folder…")), ("continue", _("Continue normalising"))]
        shown = [("choose", _("Folder…"))]
        if self._unfinished is not None:
            shown.append(("continue", _("Continue normalising")))
        else:
            shown.append(("normalise", _("Normalise…")))
        if self._report is not None:
            shown += [("proofread", _("Edit")), ("save", _("Report"))]
        return [*shown, ("run", self.verb())]

    def press(self, button: str) -> None:
        match button:
            case "choose":
                self.app.push_screen(
                    FolderScreen(_("Folder of the recordings:"), _existing(self.project.data)), self._chosen
                )
            case "normalise":
                self._ask_normalise()
            case "proofread":
                self.app.push_screen(ProofreadingScreen(self.project.data), self._proofread)
            case "continue":
                self._continue_normalising()
            case "save":
                suggested = str(self.project.folder / "findings.txt")
                self.app.push_screen(PromptScreen(_("Write the report to this file:"), suggested), self._save)
            case _:
                super().press(button)

    def _proofread(self, changed: bool | None) -> None:
        if changed:
            self.start_stage(self.stage, self.settings)

    def _chosen(self, folder: Path | None) -> None:
        if folder is not None:
            self._use(folder)

    def _use(self, folder: Path) -> None:
        home = self.project.folder
        self.project.dataset.path = folder.relative_to(home) if folder.is_relative_to(home) else folder
        self.form_changed()
        project_screen(self).save_project()
        self.start_stage(self.stage, self.settings)

    @property
    def _only_raw(self) -> bool:
        """Whether there are raw recordings but not yet the folder that normalising makes."""
        return self._normalise_from_to()[1] == self.project.data

    def _normalise_from_to(self) -> tuple[Path, Path]:
        """Return folders to normalise from and to; `data-raw` to `data` as the documentation names them."""
        data = self.project.data
        raw = data.with_name(f"{data.name}-raw")
        if raw.is_dir() and not data.exists():
            return raw, data
        return data, data.with_name(f"{data.name}-normalised")

    @property
    def _is_unfinished(self) -> bool:
        return self.status is not None and self.status.state is StepState.UNFINISHED

    def _continue_normalising(self) -> None:
        settings = self._unfinished
        raw = self.project.data.with_name(f"{self.project.data.name}-raw")
        if settings is None and raw.is_dir():
            settings = LoudnessNormSettings(source=raw, target=self.project.data)
        if settings is None:
            self.notice.show_warning(
                _("It is not known where the recordings come from."),
                _("Continue with the command that began it: fishtune loudness-norm SOURCE {target}").format(
                    target=harmless(self.project.data)
                ),
            )
            return
        chosen = settings
        self.start_stage(StageName.LOUDNESS_NORM, lambda: chosen)

    def _ask_normalise(self) -> None:
        source, suggested = self._normalise_from_to()
        explanation = _(
            "Every clip is brought to −23 LUFS in a new folder; {source} is never touched. Recommended when "
            "the clips differ by more than 3 LU."
        ).format(source=harmless(source))

        def take(answer: str | None) -> None:
            if answer:
                target = self.project.resolve(Path(answer))
                self.start_stage(
                    StageName.LOUDNESS_NORM, lambda: LoudnessNormSettings(source=source, target=target)
                )

        question = _("Write normalised copies to this folder:")
        self.app.push_screen(PromptScreen(question, str(suggested), explanation=explanation), take)

    def show_job(self, job: Job, state: JobState, view: RunView) -> None:
        was_running = self.running
        super().show_job(job, state, view)
        if was_running and state is JobState.FINISHED:
            self.show_monitor(False)
            if job.record.stage == StageName.LOUDNESS_NORM:
                self._use(Path(job.record.settings["target"]))

    def _save(self, answer: str | None) -> None:
        if not answer or self._report is None:
            return
        try:
            write_text(self.project.resolve(Path(answer)), report_text(self._report))
        except FishtuneError as error:
            self.notice.show_error(error)
        else:
            wizard(self).tell(_("The report was written."))

    def text_to_copy(self) -> str:
        focused = self.screen.focused
        if isinstance(focused, Table) and focused.id == "findings" and focused.chosen is not None:
            key = focused.chosen
            return str(self._shown[int(key)].path) if key.isdigit() else key.removeprefix("left-out ")
        return str(self.project.data)

    def help_text(self) -> str:
        return _(
            "Recordings lie as SPEAKER/NAME.mp3 (wav, flac), the words of each in SPEAKER/NAME.lab. 10 "
            "minutes of speech is the practical minimum; 30 to 60 work well; an accent or a language takes "
            "hours.\n"
            "Errors keep a clip from being used; warnings are worth a look. Enter on a finding shows the "
            "clip and what to do; a clip can be left out there, which is kept in the project file and "
            "touches no recording.\n"
            "Loudness normalisation is recommended; it writes copies into a new folder."
        )


def report_text(report: dict[str, Any]) -> str:
    """Return the findings as lines of text: severity, file, what is wrong, what to do."""
    clips = ngettext("{number} clip", "{number} clips", report["clips"]).format(number=report["clips"])
    amount = _("{clips}, {seconds} s of audio").format(clips=clips, seconds=f"{report['seconds']:.0f}")
    lines = [f"{report['data']}: {amount}", ""]
    for item in report["findings"]:
        lines.append(f"{_(item.severity)}: {item.path}")
        lines += [f"    {sentence(item.what)}", f"    → {sentence(item.what_to_do)}"]
    return "\n".join(lines) + "\n"


def clip_of(path: Path, data: Path) -> str | None:
    """Return the clip that a file of the data set belongs to, as SPEAKER/NAME or SPEAKER/BOOK/NAME."""
    try:
        inside = path.relative_to(data)
    except ValueError:
        return None
    return inside.with_name(path.stem).as_posix() if len(inside.parts) in (2, 3) else None


def _relative(path: Path, data: Path) -> str:
    if path == data:
        return f"{data.name}/"
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)


def _existing(folder: Path) -> Path:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
