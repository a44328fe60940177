"""The stage `audition` as a run has it: the recordings, and the page to listen to them."""

from __future__ import annotations

from ..config.settings import AuditionSettings
from ..errors import FishtuneError
from ..events import Reporter
from ..judge.record import AUDITIONS, LISTEN_FILE
from ..judge.results import AuditionResult
from ..stages.audition.run import run as audition
from .listening.page import write_listening_page


def run(settings: AuditionSettings, reporter: Reporter) -> AuditionResult:
    """Let checkpoints speak (`stages/audition`), make the run's page to listen to, and return what was found.

    Without the page the audition is as good: what hinders it is a warning.
    """
    result = audition(settings, reporter)
    auditions = result.candidates[0].folder.parent
    if auditions.name != AUDITIONS:
        return result  # of something that is not a run of ours
    page = auditions.with_name(LISTEN_FILE)
    try:
        write_listening_page([page.parent], page, reporter)
        reporter.log(f"The page to listen to: {page}")
    except FishtuneError as error:
        reporter.warn("The page to listen to was not made: {reason}", error.hint, reason=error.message)
    return result
