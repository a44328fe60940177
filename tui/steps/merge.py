"""Step 6: pick a checkpoint, merge it, use the result."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text
from textual import events
from textual.widget import Widget
from textual.widgets import DataTable, Static

from ...core.config.presets import preset_names
from ...core.config.project import Project
from ...core.config.settings import CODEC_FILE, MergeSettings
from ...core.errors import FishtuneError
from ...core.events import Finished
from ...core.jobs.record import Job, JobState, Place
from ...core.judge.record import read_audition
from ...core.judge.selection import Candidate, Recommendation, Yardsticks
from ...core.pipeline.history import Choice, choose
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..catalogue import _, mark, sentence
from ..dialogs.prompt import PromptScreen
from ..project_state import ShownStep
from ..run_view import RunView
from ..trouble import in_thread
from ..widgets.detailed_table import DetailedTable
from ..widgets.form import Field
from ..widgets.table import Align, Table
from ..wording import clock, count, decimal, harmless, percent, plain, right, size
from .stage import StagePane

_OTHER, _BASE = "other", "base"
_NO_CHECKPOINTS = (None, _OTHER, _BASE)
"""Rows that cannot be picked, and none."""
_WIDE = 86


class MergePane(StagePane):
    """The checkpoints with what is known of each; then the verification and how to use the result."""

    step = StepName.MERGE
    stage = StageName.MERGE
    fields = (
        Field("merge", "output"),
        Field("merge", "lora_config"),
        Field(
            "merge",
            "link",
            (("", mark("no")), ("true", mark("yes"))),
        ),
    )
    DEFAULT_CSS = """
    MergePane #candidates { max-height: 8; }
    MergePane #why { height: auto; margin: 0 0 1 0; padding: 0 1; }
    MergePane #result { height: auto; margin: 1 0 0 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._candidates: dict[str, Candidate] = {}
        self._recommended: Recommendation | None = None
        self._base_loss: float | None = None
        self._wide = False

    def all_fields(self) -> tuple[Field, ...]:
        output, preset, link = self.fields
        options = (("", mark("not needed")), *((name, name) for name in preset_names("lora")))
        return (output, replace(preset, options=options), link)

    def compose_before(self) -> Iterable[Widget]:
        yield DetailedTable(self._columns(), id="candidates")
        yield Static("", id="why", markup=False)
        yield from super().compose_before()

    def _columns(self) -> list[tuple[str, int | None, Align]]:
        """Return the columns there is room for; the row under the cursor is told in full below."""
        least: list[tuple[str, int | None, Align]] = [
            ("", 1, "left"),
            (_("step"), 7, "right"),
            (_("passes"), 6, "right"),
            (_("held-out"), 8, "right"),
            (_("top-5"), 5, "right"),
        ]
        if self._wide:
            least += [(_("size"), 9, "right"), (_("time"), 16, "right")]
        return [*least, (_("speech"), None, "left")]

    def on_resize(self, event: events.Resize) -> None:
        """Show more columns where there is room."""
        if (event.size.width >= _WIDE) is not self._wide:
            self._wide = not self._wide
            self.query_one("#candidates", Table).show_columns(self._columns())
            self._show_candidates()

    def compose_below_form(self) -> Iterable[Widget]:
        yield Static("", id="result", markup=False)

    def project_changed(self) -> None:
        super().project_changed()
        self._show_candidates()

    def inherited(self, field: Field) -> Any:
        return self.near(self.project.merged) if field.name == "output" else super().inherited(field)

    # checkpoints

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        project = self.project

        def work() -> None:
            self.app.call_from_thread(self._take_choice, choice_of(project))

        in_thread(self, work, self.notice.show_error, "candidates")

    def _take_choice(self, choice: Choice) -> None:
        first = not self._candidates
        self._candidates = {str(candidate.path): candidate for candidate in choice.candidates}
        self._recommended = choice.recommendation
        self._base_loss = choice.against.base_loss
        self._show_candidates()
        if first and self._candidates:
            chosen = self._chosen_path()
            self.query_one("#candidates", Table).select_key(chosen)

    def _chosen_path(self) -> str:
        """Return the checkpoint that would be merged: the picked one, else the recommended one."""
        picked = self.project.merge.checkpoint
        if picked is not None:
            return str(self.project.resolve(Path(picked)))
        return str(self._recommended.candidate.path) if self._recommended else ""

    def _show_candidates(self) -> None:
        chosen = self._chosen_path()
        sign = wizard(self).glyphs.chosen
        rows: list[tuple[str, tuple[Text, ...], str]] = []
        if self._candidates and self._base_loss is not None:
            loss = right(decimal(self._base_loss))
            unknown = [right("–")] * (3 if self._wide else 1)
            cells = [plain(" "), right(count(0)), right("–"), loss, *unknown, plain(_("base"))]
            rows.append((_BASE, tuple(cells), self.near(self.project.base)))
        for path, candidate in self._candidates.items():
            style = "bold" if path == chosen else ""
            passes = "–" if candidate.clip_passes is None else f"{candidate.clip_passes:.1f}"
            heard = _health(candidate)
            weight = size(candidate.bytes)
            time = clock(candidate.modified) if candidate.modified else "–"
            cells = [
                plain(sign if path == chosen else " ", style),
                right(count(candidate.step), style),
                right(passes, style),
                right(decimal(candidate.validation_loss), style),
                right(percent(candidate.top_5_accuracy), style),
            ]
            if self._wide:
                cells += [right(weight, style), right(time, style)]
            told = f"{self.near(candidate.path)}, {weight}, {time}"
            rows.append((path, (*cells, plain(heard, style)), told if heard == "–" else f"{told}\n{heard}"))
        if chosen and chosen not in self._candidates:
            cells = [plain(cell) for cell in (sign, *["–"] * (6 if self._wide else 4), _("other"))]
            rows.append((_OTHER, tuple(cells), chosen))
        self.query_one(DetailedTable).show_rows(rows)
        why = "\n".join(harmless(line) for line in self._why(chosen).splitlines())
        self.query_one("#why", Static).update(Text(why))

    def _why(self, chosen: str) -> str:
        if not self._candidates and not chosen:
            return ""
        lines = []
        if self._recommended is not None:
            step = count(self._recommended.candidate.step)
            lines.append(
                _("Recommended: step {step}.").format(step=step) + " " + sentence(self._recommended.reason)
            )
        known = self._candidates.get(chosen)
        name = known.path.name if known is not None else self.near(Path(chosen))
        lines.append(_("Will merge: {path}").format(path=name))
        if self._replaces:
            lines.append(_("The merged directory that is there will be replaced."))
        return "\n".join(lines)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        path = str(event.row_key.value)
        if event.data_table.id == "candidates" and path not in _NO_CHECKPOINTS:
            self._pick(Path(path))

    def _pick(self, path: Path) -> None:
        folder = self.project.folder
        inside = path.is_relative_to(folder)
        self.project.merge.checkpoint = str(path.relative_to(folder) if inside else path)
        project_screen(self).save_project()
        self._show_candidates()

    # merging

    def settings(self) -> MergeSettings:
        project = self.project.model_copy(deep=True)
        if project.merge.checkpoint is None and self._recommended is not None:
            project.merge.checkpoint = str(self._recommended.candidate.path)
        settings = project.merge_settings()
        if self._replaces:
            settings.overwrite = True
        return settings

    @property
    def _replaces(self) -> bool:
        return self.project.merged.exists()

    def verb(self) -> str:
        return _("Merge again") if self._replaces else _("Merge")

    def main_label(self) -> str:
        return self.verb()

    def own_buttons(self) -> list[tuple[str, str]]:
        return [("audition", _("Audition")), ("other", _("Other…")), *super().own_buttons()]

    def press(self, button: str) -> None:
        if button == "audition":
            self._audition()
        elif button == "other":
            explanation = _(
                "A checkpoint of another run (step_….ckpt), a PEFT adapter folder, or a checkpoint of "
                "fish-speech's own training."
            )

            def take(answer: str | None) -> None:
                if answer:
                    self._pick(self.project.resolve(Path(answer)))

            self.app.push_screen(
                PromptScreen(_("Checkpoint to merge:"), str(self.project.folder), explanation=explanation),
                take,
            )
        else:
            super().press(button)

    def _audition(self) -> None:
        """Let the checkpoint under the cursor speak, unmerged; its findings come into the table."""
        under = self.query_one("#candidates", Table).chosen
        path = str(self.project.base) if under == _BASE else under
        if path in _NO_CHECKPOINTS:
            path = self._chosen_path()
        if not path:
            self.notice.show_warning(_("There is no checkpoint yet."))
            return
        self.start_stage(
            StageName.AUDITION,
            lambda: self.project.audition_settings(Path(path)),
        )

    def show_job(self, job: Job, state: JobState, view: RunView) -> None:
        super().show_job(job, state, view)
        with view.lock:
            end = view.end
        if isinstance(end, Finished) and job.record.stage == StageName.MERGE:
            self.query_one("#result", Static).update(result_text(end.summary))

    def job_ended(self) -> None:
        if self.job_state is not JobState.FINISHED or self.job is None:
            return
        self.end_monitor()
        if self.job.record.stage == StageName.MERGE:
            self.call_after_refresh(self.query_one("#result").scroll_visible)

    def text_to_copy(self) -> str:
        focused = self.screen.focused
        if (
            isinstance(focused, Table)
            and focused.id == "candidates"
            and focused.chosen not in _NO_CHECKPOINTS
        ):
            return str(focused.chosen)
        return use_command(self.project.merged)

    def help_text(self) -> str:
        return _(
            "Merging writes a directory that takes the base's place, so that fish-speech and everything else "
            "that loads the base can use it. The base is never changed, and the merged weights are compared "
            "with base and adapter before they get their name.\n"
            "The earliest checkpoint that sounds good enough usually generalises best; that "
            "is why it is recommended, not the last. Compare two or three by ear.\n"
            "Audition lets a checkpoint speak without merging it and lists what is wrong: does not stop, "
            "silence, fading, too short or too long for the text. Its recordings lie in "
            "results/NAME/audition.\n"
            "y copies the command that speaks with the merged model."
        )


def choice_of(project: Project) -> Choice:
    """Return the choice among the project's checkpoints; nothing to choose from where they cannot be read."""
    try:
        return choose(Place(results=project.results, project=project.name))
    except FishtuneError:
        return Choice([], Yardsticks(), None)


def _health(candidate: Candidate) -> str:
    """Return what the audition found, in a few words; a dash where nobody listened."""
    audition = read_audition(candidate.path)
    return "–" if audition is None else sentence(audition.summary)


def use_command(merged: Path) -> str:
    """Return the command that speaks with a merged model."""
    return f"fishtune synth --checkpoint {shlex.quote(str(merged))} --text 'Hello.' --out hello.wav"


def result_text(summary: dict[str, Any]) -> Text:
    """Return the verification of a merge and how to use what it made."""
    text = Text()
    output = Path(str(summary.get("output", "")))
    verification = _table(summary.get("verification"))
    text.append(_("Merged and verified") + "\n", style="bold")
    merged, effect = _table(verification.get("merged")), _table(verification.get("effect"))
    rows = [
        (_("same token as base + adapter"), percent(_number(merged, "same_token"))),
        (_("same codes as base + adapter"), percent(_number(merged, "same_code"))),
        (_("difference by rounding"), _share(_number(merged, "relative_difference"))),
        (_("what the adapter changes"), _share(_number(effect, "relative_difference"))),
        (_("kept after rounding"), percent(_number(verification, "captured"))),
    ]
    for name, value in rows:
        text.append(f"  {value:>9}  {name}\n")
    text.append("\n" + _("Speak with it") + "\n", style="bold")
    text.append(f"{harmless(use_command(output))}\n")
    text.append(_("With a reference clip: --ref-audio CLIP --ref-text 'its words'") + "\n")
    text.append(_("With fish-speech") + "\n", style="bold")
    text.append(
        f"python -m tools.api_server --llama-checkpoint-path {harmless(shlex.quote(str(output)))} "
        f"--decoder-checkpoint-path {harmless(shlex.quote(str(output / CODEC_FILE)))}\n"
    )
    return text


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(table: dict[str, Any], name: str) -> float | None:
    value = table.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    if 0 < value < 0.0001:
        return "< 0.01 %"
    return f"{100 * value:,.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"
