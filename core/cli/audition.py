"""`fishtune audition`."""

from __future__ import annotations

from ..config.settings import AuditionSettings
from ..config.strict import parse_flags
from ..files import absolute
from ..judge.results import AuditionCandidate, AuditionResult
from ..units import format_count
from .columns import print_table
from .console import out
from .options import Given, Json, takes
from .running import find_project, run_stage
from .runs import MEASURES, find_run, measure_cells, run_folder


@takes(AuditionSettings, of_project=["checkpoint"])
def audition(given: Given, json: Json = False) -> None:
    """Let checkpoints speak without merging them, and find what is wrong with what they say.

    Beside a run's checkpoints stand their base (the floor) and your own held-out recordings (the ceiling).
    All say the same texts; recordings and findings go to results/NAME/audition, and what is there already is
    not made again. Checkpoints whose speech is unsound are not recommended for merging. Words, voice and
    pitch need the extra "judge" of fishtune.

    Example: fishtune audition my-voice --all
    """
    if "checkpoint" not in given and (project := find_project()):
        given["checkpoint"] = project.run_folder
    settings = _over_the_projects(_named(parse_flags(AuditionSettings, **given)))
    summary = run_stage("audition", settings, json=json)
    if summary is None or json:
        return
    result = AuditionResult.model_validate(summary)
    voice = f"in the voice of {result.reference}" if result.reference else "without a reference"
    if len(result.candidates) > 1:
        rows = [[each.name, *measure_cells(each.measures)] for each in result.candidates]
        print_table(("", *MEASURES), rows)
        for each in result.candidates:
            out.print(f"{each.name}: {each.summary}")
        out.print(f"Of {format_count(len(result.texts), 'text')}, {voice}; means with their 95 % intervals")
    else:
        _tell(result, result.candidates[0], voice)
    for sentence in result.not_judged:
        out.print(sentence)


def _named(settings: AuditionSettings) -> AuditionSettings:
    """Return the settings with the folder of a run that is given by its name, or by its project's folder."""
    name = settings.checkpoint
    is_name = not name.exists() and len(name.parts) == 1
    folder = find_run(name).folder if is_name else run_folder(name)
    return settings.model_copy(update={"checkpoint": folder})


def _over_the_projects(settings: AuditionSettings) -> AuditionSettings:
    """Return the settings with what the project file says of auditions where no flag does.

    That is about the project's own run; another one, or a model elsewhere, may be of another voice.
    """
    project, target = find_project(), absolute(settings.checkpoint)
    if project is None or not target.is_relative_to(project.run_folder):
        return settings
    chosen = set(project.audition.model_fields_set) - settings.model_fields_set
    if settings.texts:
        chosen.discard("text_source")
    known = project.audition_settings(target)
    return settings.model_copy(update={name: getattr(known, name) for name in chosen})


def _tell(result: AuditionResult, candidate: AuditionCandidate, voice: str) -> None:
    out.print(f"{'Sound' if candidate.healthy else 'Unsound'}: {candidate.summary}, {voice}")
    for cell in candidate.cells:
        out.print(f"\n{result.texts[cell.text].text}")
        out.print(f"  {candidate.audio(cell) or 'no recording'}  {cell.seconds:.1f} s")
        for finding in cell.findings:
            out.print(f"  {finding.message}")
