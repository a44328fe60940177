"""`fishtune pack`."""

from __future__ import annotations

from ..config.project import PROTOS, DatasetOptions, Project
from ..config.settings import PackOptions, PackSettings
from ..dataset.layout import list_root
from ..shards.manifest import check_place
from ..units import format_bytes, format_count
from .console import out, print_left_out
from .options import Given, Json, takes
from .running import project_settings, run_stage

_ELSEWHERE = {"input": DatasetOptions().path}
_SHOWN = 20


@takes(PackSettings, of_project={*PackOptions.model_fields, "input", "output"}, elsewhere=_ELSEWHERE)
def pack(given: Given, json: Json = False) -> None:
    """Pack codes and transcripts into shards for training. The same input gives the same bytes.

    A clip that cannot be packed is listed with the reason; the others go in. The old shards stay in
    place until the new ones are complete.

    Example: fishtune pack --input data --output data/protos --text-extension .lab --num-workers 16
    """
    places = _ELSEWHERE | {"output": given.get("input", _ELSEWHERE["input"]) / PROTOS}
    settings = project_settings(PackSettings, Project.pack_settings, places, "input", **given)
    list_root(settings.input)  # before anything is made beside it
    check_place(settings)
    summary = run_stage("pack", settings, json=json)
    if summary is None or json:
        return
    dropped = summary["dropped"]
    for loss in dropped[:_SHOWN]:
        out.print(f"left out: {loss['clip']}: {loss['reason']}")
    if len(dropped) > _SHOWN:
        out.print(f"… and {len(dropped) - _SHOWN} more; all of them with: fishtune pack … --json")
    print_left_out(summary["left_out"])
    out.print(
        f"Packed {summary['sentences']:,} of {format_count(summary['clips'], 'clip')} into "
        f"{format_count(summary['shards'], 'shard')} "
        f"({format_bytes(summary['bytes'])}) in {summary['output']}"
    )
