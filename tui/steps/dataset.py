"""Step 1: the recordings, what is in them and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from textual.widget import Widget

from ...core.config.settings import LoudnessNormSettings, PrepareSettings, ValidateSettings
from ...core.config.strict import Table as SettingsTable
from ...core.dataset.findings import Severity, clip_of
from ...core.dataset.rows import ClipRow
from ...core.errors import FishtuneError
from ...core.files import write_text
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import NO_CLIPS, StepName, StepState
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..catalogue import _, ngettext
from ..data_folders import FolderLook, existing, look_into, normalise_from_to, raw_of
from ..dialogs.clip import ClipScreen
from ..dialogs.demo import ask_for_demo
from ..dialogs.folders import FolderScreen
from ..dialogs.preparing import PrepareScreen
from ..dialogs.prompt import PromptScreen
from ..dialogs.proofreading import ProofreadingScreen
from ..project_state import ShownStep
from ..report import clip_rows, newest_report, report_text, unfinished_work
from ..run_view import RunView
from ..trouble import in_thread
from ..widgets.clip_list import ClipList
from ..widgets.data_view import DataView
from ..widgets.finding_list import FindingList
from ..widgets.form import Field
from ..widgets.long_table import LongTable
from ..widgets.table import Table
from ..widgets.ways_in import WaysIn
from ..wording import count, duration, harmless
from .stage import StagePane

_MADE_BY: dict[str, str] = {StageName.LOUDNESS_NORM: "target", StageName.PREPARE: "out"}
"""The setting that names the folder of recordings that a stage makes."""


class DatasetPane(StagePane):
    """The folder, its speakers, clips and findings; in an empty project the ways to get there."""

    step = StepName.DATASET
    stage = StageName.VALIDATE
    fields = (Field("dataset", "path"),)
    DEFAULT_CSS = """
    DatasetPane DataView { margin: 1 0 0 0; }
    DatasetPane WaysIn { display: none; }
    DatasetPane.-empty WaysIn { display: block; }
    DatasetPane.-empty DataView { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._report: dict[str, Any] | None = None
        self._report_job = ""
        self._unfinished: tuple[StageName, SettingsTable] | None = None
        """What continues a normalisation or preparation that ended early."""

    def compose_below_form(self) -> Iterable[Widget]:
        yield WaysIn(id="ways-in")
        yield DataView(id="data-view")

    # the report of the newest check

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        self.query_one(WaysIn).show_layout(self.project.data.name)
        self.set_class(self._is_empty, "-empty")
        project = self.project

        def work() -> None:
            unfinished = unfinished_work(project)
            if unfinished != self._unfinished:
                self.app.call_from_thread(self._take_unfinished, unfinished)
            job, report = newest_report(project)
            known = job.id if job is not None else ""  # "" also where the folder is another one now
            if known != self._report_job:
                rows = clip_rows(job) if job is not None else []
                self.app.call_from_thread(self._take_report, known, report, rows)

        in_thread(self, work, self.notice.show_error, "report")

    @property
    def _is_empty(self) -> bool:
        """Whether there is nothing to check yet."""
        return self.status is not None and self.status.share == NO_CLIPS and not self._only_raw

    def _take_unfinished(self, unfinished: tuple[StageName, SettingsTable] | None) -> None:
        self._unfinished = unfinished
        self.show_buttons()

    def _take_report(self, job: str, report: dict[str, Any] | None, rows: list[ClipRow]) -> None:
        self._report_job, self._report = job, report
        self.query_one(DataView).show_report(report, rows, self.project)
        if self.status is not None:
            super().show_status(self.status)

    def sentence(self) -> str:
        text = super().sentence()
        if self._only_raw and not self.running:
            raw, _data = normalise_from_to(self.project.data)
            return _("The recordings in {raw} are to be normalised first.").format(raw=raw.name)
        if self.running or self._report is None or self._is_empty:
            return text
        kinds = Counter(item.severity for item in self._report["findings"])
        bad, doubtful = kinds[Severity.ERROR], kinds[Severity.WARNING]
        errors = ngettext("{number} error", "{number} errors", bad).format(number=count(bad))
        warnings = ngettext("{number} warning", "{number} warnings", doubtful).format(number=count(doubtful))
        total = duration(self._report["seconds"])
        return f"{text} {total}; {errors}, {warnings}."

    def search(self) -> None:
        if self._report is None or self._is_empty:
            self.notice.show_plain(_("The clips are listed once they are checked."))
            return
        self.show_monitor(False)
        self.query_one(DataView).search()

    def project_changed(self) -> None:
        super().project_changed()
        self.query_one(DataView).show_choice(self.project)

    # one clip or finding in full

    def on_finding_list_opened(self, event: FindingList.Opened) -> None:
        event.stop()
        finding = event.finding
        clip = clip_of(finding.path, self.project.data)
        self.app.push_screen(ClipScreen(self.project, clip, finding), self._clip_decided)

    def on_clip_list_opened(self, event: ClipList.Opened) -> None:
        event.stop()
        self.app.push_screen(ClipScreen(self.project, event.clip, None), self._clip_decided)

    def _clip_decided(self, left_out: bool | None) -> None:
        if left_out is not None:
            project_screen(self).save_project()
            self.query_one(DataView).show_choice(self.project)

    # what can be done

    def settings(self) -> ValidateSettings:
        return ValidateSettings(
            data=self.project.data,
            text_extension=self.project.pack.text_extension,
            exclude=self.project.dataset.exclude,
        )

    def verb(self) -> str:
        return _("Check again") if self._report is not None else _("Check")

    def own_buttons(self) -> list[tuple[str, str]]:
        choose, prepare = ("choose", _("Folder…")), ("prepare", _("Prepare…"))
        if self._only_raw:
            return [choose, prepare, ("normalise", _("Normalise…"))]
        if self._is_unfinished:
            return [choose, prepare, ("continue", self._continue_label())]
        if self._is_empty:
            return [
                ("demo", _("Try the demo")),
                ("prepare", _("Prepare recordings…")),
                ("choose", _("Folder of clips…")),
            ]
        again = ("continue", self._continue_label())
        shown = [choose, again if self._unfinished is not None else ("normalise", _("Normalise…")), prepare]
        if self._report is not None:
            shown += [("proofread", _("Edit")), ("save", _("Report"))]
        return [*shown, ("run", self.verb())]

    def _continue_label(self) -> str:
        if self._unfinished is not None and self._unfinished[0] is StageName.PREPARE:
            return _("Continue preparing")
        return _("Continue normalising")

    def press(self, button: str) -> None:
        match button:
            case "choose":
                self._ask_folder(_("Folder of the clips:"), existing(self.project.data), self._chosen)
            case "prepare":
                self._ask_folder(_("Folder of the raw recordings:"), self.project.folder, self._ask_prepare)
            case "demo":
                ask_for_demo(self, self.notice)
            case "normalise":
                self._ask_normalise()
            case "proofread":
                self.app.push_screen(ProofreadingScreen(self.project.data), self._proofread)
            case "continue":
                self._continue()
            case "save":
                suggested = str(self.project.folder / "findings.txt")
                self.app.push_screen(PromptScreen(_("Write the report to this file:"), suggested), self._save)
            case _:
                super().press(button)

    def _ask_folder(self, question: str, start: Path, then: Callable[[Path], None]) -> None:
        def chosen(folder: Path | None) -> None:
            if folder is not None:
                then(folder)

        self.app.push_screen(FolderScreen(question, start), chosen)

    def _proofread(self, changed: bool | None) -> None:
        if changed:
            self.start_stage(self.stage, self.settings)

    def _chosen(self, folder: Path) -> None:
        """Use a folder of clips; offer to import one that is laid out in another way."""
        self.notice.clear()

        def work() -> None:
            look = look_into(folder, self.project.pack.text_extension)
            self.app.call_from_thread(self._use_or_import, folder, look)

        in_thread(self, work, self.notice.show_error, "folder")

    def _use_or_import(self, folder: Path, look: FolderLook) -> None:
        if look.has_clips or not look.recordings:
            self._use(folder, check=look.has_clips)
            return
        number = ngettext("{number} recording", "{number} recordings", look.recordings).format(
            number=count(look.recordings)
        )
        found = ", ".join(_(layout) for layout in look.layouts)
        explanation = (
            _(
                "{folder} holds {number} in another layout: {layouts}. Preparing imports them with their "
                "words."
            ).format(folder=harmless(folder), number=number, layouts=harmless(found))
            if found
            else _(
                "{folder} holds {number} without transcripts. Preparing cuts them at pauses and writes what "
                "is said."
            ).format(folder=harmless(folder), number=number)
        )
        self._ask_prepare(folder, explanation, may_use=True)

    def _use(self, folder: Path, *, check: bool = True) -> None:
        self.project.dataset.path = Path(self.near(folder))
        self.form_changed()
        project_screen(self).save_project()
        if check:
            self.start_stage(self.stage, self.settings)

    def _ask_prepare(self, raw: Path, explanation: str = "", *, may_use: bool = False) -> None:
        data = self.project.data
        apart = data != raw and raw not in data.parents and data not in raw.parents
        out = data if self._is_empty and apart else raw.with_name(f"{raw.name}-prepared")

        def take(answer: PrepareSettings | Path | None) -> None:
            if isinstance(answer, Path):
                self._use(answer)
            elif answer is not None:
                chosen = answer
                self.start_stage(StageName.PREPARE, lambda: chosen)

        self.app.push_screen(PrepareScreen(raw, out, explanation, may_use=may_use), take)

    @property
    def _only_raw(self) -> bool:
        """Whether there are raw recordings but not yet the folder that normalising makes."""
        return normalise_from_to(self.project.data)[1] == self.project.data

    @property
    def _is_unfinished(self) -> bool:
        return self.status is not None and self.status.state is StepState.UNFINISHED

    def _continue(self) -> None:
        data = self.project.data
        # Asked here as well: Enter may come before the look at the disk has told of it.
        unfinished = self._unfinished or unfinished_work(self.project)
        if unfinished is None and raw_of(data).is_dir():
            unfinished = StageName.LOUDNESS_NORM, LoudnessNormSettings(source=raw_of(data), target=data)
        if unfinished is None:
            self.notice.show_warning(
                _("It is not known where the recordings come from."),
                _("Continue with the command that began it: fishtune loudness-norm SOURCE {target}").format(
                    target=harmless(data)
                ),
            )
            return
        stage, settings = unfinished
        self.start_stage(stage, lambda: settings)

    def _ask_normalise(self) -> None:
        source, suggested = normalise_from_to(self.project.data)
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
            self.end_monitor()
            made = _MADE_BY.get(job.record.stage)
            if made is not None:
                self._use(Path(job.record.settings[made]))

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
        if isinstance(focused, Table) and (finding := self.query_one(FindingList).chosen) is not None:
            return str(finding.path)
        if isinstance(focused, LongTable):
            return self.query_one(ClipList).clip
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
