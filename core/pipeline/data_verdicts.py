"""How the steps about data stand: Dataset, Extract and Pack. They say the same count of clips."""

from __future__ import annotations

from ..config.settings import CODEC_FILE
from ..dataset.clips import SHARD_EXTENSION
from ..dataset.journal import Copied, copied
from ..dataset.usage import Usage
from ..jobs.record import JobState
from ..messages import NOTHING, Message, joined, plural
from ..shards.manifest import current_result
from ..stages.registry import StageName
from .seen import Seen, summary_of
from .steps import NO_CLIPS, Share, StepName, StepState, Verdict

_WAITS_FOR_CLIPS = Verdict(
    StepState.LOCKED, Message("It waits for clips that can be used (Dataset)."), StepName.DATASET
)


def dataset_verdict(seen: Seen) -> Verdict:
    """Say how the recordings stand."""
    if seen.trouble:
        return Verdict(StepState.READY, seen.trouble, share=NO_CLIPS)
    if seen.found is None or not (seen.recordings or seen.found.excluded):
        has_any = seen.found is not None and any(clip.audio or clip.codes for clip in seen.found.clips)
        return Verdict(
            StepState.READY,
            Message("{data} has no speaker folder with recordings.", data=seen.project.data),
            share=None if has_any else NO_CLIPS,
        )
    begun = _unfinished_copy(seen)
    if begun is not None:
        return Verdict(
            StepState.UNFINISHED,
            Message(
                "The normalisation into {data} ended early: {recordings} of {count} are there.",
                data=seen.project.data,
                recordings=begun.recordings,
                count=_recordings(begun.total),
            ),
            share=Share(begun.recordings, begun.total),
        )
    if _is_half_prepared(seen):
        return Verdict(
            StepState.UNFINISHED,
            Message(
                "The preparation of {data} ended early; what is finished is kept.", data=seen.project.data
            ),
        )
    speakers = plural(len(seen.found.speakers), "{number} speaker", "{number:,} speakers")
    clips = len(seen.found.clips) + len(seen.found.excluded)
    what = Message("{count} of {speakers}", count=_clips(clips), speakers=speakers)
    checked = seen.finished(StageName.VALIDATE)
    if checked is None:
        return Verdict(StepState.READY, Message("{what}, not checked yet.", what=what))
    if not seen.checked:
        return Verdict(StepState.STALE, Message("{what}; some changed since the last check.", what=what))
    usage = seen.usage
    if usage is None:
        if summary_of(checked).get("usable") == 0:
            return Verdict(
                StepState.FAILED, Message("{what}, none of which can be used: see the findings.", what=what)
            )
        return Verdict(StepState.DONE, Message("{what}, checked.", what=what))
    if not usage.used:
        return Verdict(StepState.FAILED, joined([usage.said, Message("See the findings.")]))
    return Verdict(StepState.DONE, usage.said, share=_part_of(usage))


def _part_of(usage: Usage | None) -> Share | None:
    """Return how many clips are used, where it is not all."""
    return Share(usage.used, usage.clips) if usage is not None and usage.dropped else None


def _is_half_prepared(seen: Seen) -> bool:
    """Whether the preparation that made the data set ended early, and nobody has checked what there is."""
    job, checked = seen.newest.get(StageName.PREPARE), seen.finished(StageName.VALIDATE)
    if job is None or job.state() not in (JobState.STOPPED, JobState.FAILED, JobState.LOST):
        return False
    return checked is None or checked.record.number < job.record.number


def _unfinished_copy(seen: Seen) -> Copied | None:
    """Return how far the normalisation that made the data set got, if it did not get to its end."""
    if seen.finished(StageName.LOUDNESS_NORM) is not None:
        return None
    found = copied(seen.project.data)
    return found if found is not None and not found.is_whole else None


def extract_verdict(seen: Seen) -> Verdict:
    """Say how the codes stand."""
    if not seen.recordings:
        return Verdict(StepState.LOCKED, Message("It waits for recordings (Dataset)."), StepName.DATASET)
    usage = seen.usage
    if usage is not None and not usage.used:
        return _WAITS_FOR_CLIPS
    said = usage.said if usage is not None else NOTHING
    recordings = _recordings(seen.recordings)
    if seen.coded == seen.recordings:
        return Verdict(
            StepState.DONE,
            joined(
                [
                    plural(
                        seen.recordings,
                        "The only recording has codes.",
                        "All {number:,} recordings have codes.",
                    ),
                    said,
                ]
            ),
        )
    if CODEC_FILE in seen.missing_model:
        return Verdict(
            StepState.LOCKED, Message("It waits for {file} (Model).", file=CODEC_FILE), StepName.MODEL
        )
    if seen.stale:
        return Verdict(
            StepState.STALE,
            Message("{stale} of {count} changed after extraction.", stale=seen.stale, count=recordings),
        )
    if seen.other_codec:
        return Verdict(
            StepState.STALE,
            Message(
                "The codes of {number:,} of {count} are of another codec.",
                number=seen.other_codec,
                count=recordings,
            ),
        )
    left = seen.recordings - seen.coded
    job = seen.finished(StageName.EXTRACT)
    failed = summary_of(job).get("failed") if job is not None else None
    could_not = len(failed) if isinstance(failed, list) else 0
    # What it could not do, it never will; codes that went since are another matter.
    if seen.coded and left <= could_not and seen.went_through(StageName.EXTRACT, texts=False):
        return Verdict(
            StepState.DONE,
            joined(
                [
                    Message(
                        "{coded} of {count} have codes; {left} cannot be used.",
                        coded=seen.coded,
                        count=recordings,
                        left=left,
                    ),
                    said,
                ]
            ),
        )
    have = Message("{coded} of {count} have codes.", coded=seen.coded, count=recordings)
    return Verdict(StepState.READY, joined([have, said]))


def pack_verdict(seen: Seen) -> Verdict:
    """Say how the packed data stand."""
    project = seen.project
    shards = sorted(project.protos.glob(f"*{SHARD_EXTENSION}")) if project.protos.is_dir() else []
    packed = (
        current_result(project.pack_settings(), seen.found) if shards and seen.found is not None else None
    )
    if packed is not None:
        made = Message(
            "Packed: {count} in {folder}.",
            count=plural(len(shards), "{number} shard", "{number:,} shards"),
            folder=project.protos,
        )
        return Verdict(StepState.DONE, joined([packed.usage.said, made]), share=_part_of(packed.usage))
    if seen.usage is not None and not seen.usage.used:
        return _WAITS_FOR_CLIPS
    if not seen.coded:
        return Verdict(StepState.LOCKED, Message("It waits for codes (Extract)."), StepName.EXTRACT)
    if shards:
        return Verdict(StepState.STALE, Message("Codes, transcripts or settings changed after packing."))
    if seen.usage is not None:
        return Verdict(StepState.READY, seen.usage.said)
    return Verdict(StepState.READY, Message("{count} have codes.", count=_recordings(seen.coded)))


def _clips(number: int) -> Message:
    return plural(number, "{number} clip", "{number:,} clips")


def _recordings(number: int) -> Message:
    return plural(number, "{number} recording", "{number:,} recordings")
