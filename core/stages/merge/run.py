"""Merging: a base and a checkpoint to a directory that takes the base's place.

The base's weights file is copied and the adapted tensors in it are replaced, piece by piece, computed in
float32 and cast to the base's dtype; no weight is in memory as a whole. The base is hashed while it is
copied, and the copy while it is proven. The result is compared with base + adapter before it gets its name.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from ...compute.threads import computing_threads
from ...compute.weights import load_strict
from ...config.presets import lora_preset
from ...config.project import merge_record_path
from ...config.run_files import merged_from
from ...config.settings import MergeSettings
from ...errors import CheckpointError, FishtuneError, UsageError
from ...events import ProgressMeter, Reporter
from ...files import atomic_folder, recover_folder, sha256, storage_errors, write_json, write_text
from ...lora.adapted import changed_weight
from ...lora.blending import at_strength, mean_of
from ...lora.files import Adapter, FullWeights, check_fit, read_adapter
from ...messages import Message, first_of
from ...model.base_hash import base_hash
from ...model.checkpoint import build_model, own_tensors
from ...model.containers.container import (
    Container,
    StoredRows,
    WeightsEditor,
    WeightsReader,
    combined_sha256,
    row_slices,
)
from ...model.directory import ModelDirectory
from ...model.families import default_family
from ...model.targets import WORD_EMBEDDING
from ...ownership import describe, strangers
from ...tables import read_json
from .copying import STOPPED, copy_files, hashes
from .proof import Verification, verify_merge
from .side_by_side import load_library

_MADE_BY = "fishtune merge"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class MergeResult(BaseModel):
    """Result of `run`."""

    output: Path
    record: Path
    """`NAME.fishtune.json`, beside the directory."""
    changed_tensors: int
    linked: bool
    verification: Verification


def run(settings: MergeSettings, reporter: Reporter) -> MergeResult:
    """Merge a checkpoint into its base and return what was made; see `MergeSettings`.

    Raises:
        UsageError: settings that contradict the files or each other, or an output that must not be replaced.
        CheckpointError: a file cannot be read, checkpoint and base do not belong together, or the merged
            weights do not compute what base + adapter compute.
        StorageError: the disk is full or the output cannot be written.
        StopRequested: asked to stop; nothing was written.
    """
    output = settings.output
    former = _check_output(settings)
    preset = lora_preset(settings.lora_config) if settings.lora_config is not None else None
    sources = [read_adapter(path, preset, settings.lora_alpha) for path in settings.checkpoints]
    source = mean_of(sources)
    base = ModelDirectory.open(settings.base_weight)
    weights = base.container.path
    tensors = {name: tensor.to("meta") for name, tensor in base.container.tensors().items()}
    stored = base.family.stored_names(tensors)
    # Whether the base itself is complete; its weights stay on disk.
    model = build_model(base.shape, base.tokenizer, base.path)
    load_strict(model, own_tensors(base.family, tensors), weights)
    _check_fit(source, tensors, stored, base.shape.tie_word_embeddings, weights, reporter)
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(output)
    with atomic_folder(output) as folder, ThreadPoolExecutor(2, "beside") as beside:
        merged = base.container.of(folder)
        hashing = beside.submit(_right_base_hash, settings, source, reporter)
        loading = beside.submit(load_library, source)
        linked = copy_files(settings, base.container, folder, hashing, reporter)
        base_sha256 = hashing.result()
        with WeightsReader(base.container) as reader:
            source = at_strength(source, settings.strength, lambda name: StoredRows(reader, stored[name])[:])
        changed = _merge_weights(base, merged, source, reporter)
        _write_notices(base, source, changed, folder, reporter)
        hashed = beside.submit(hashes, merged.files, reporter)
        loading.result()
        verification = verify_merge(base, folder, source, sources, settings.strength, reporter)
        digests = hashed.result()
        reporter.check_stop(STOPPED)
        # Before the folder gets its name: a merge killed between the two must find its own output again.
        record = _record(settings, sources, base_sha256, combined_sha256(digests), verification)
        record["files"] = describe(folder, digests)
        # The folder that is replaced, for a merge killed before it was.
        record["replaced"] = former
        # Minutes have passed since the first look.
        _refuse_strangers(output, former)
        write_json(merge_record_path(output), record)
    return MergeResult(
        output=output,
        record=merge_record_path(output),
        changed_tensors=changed,
        linked=linked,
        verification=verification,
    )


def _right_base_hash(settings: MergeSettings, source: Adapter | FullWeights, reporter: Reporter) -> str:
    """Return the hash of the base's weights; refuse one that the checkpoint was not trained on."""
    found = base_hash(settings.base_weight, reporter)
    if source.base_sha256 not in (None, found):
        raise CheckpointError(
            "{checkpoint} was trained on another base: its weights have the hash {hash}, "
            "those of {base} {other}.",
            "Give the base it was trained on with --base-weight.",
            checkpoint=settings.checkpoints[0],
            hash=str(source.base_sha256)[:12],
            base=settings.base_weight,
            other=found[:12],
        )
    return found


def _check_output(settings: MergeSettings) -> list[Any]:
    """Return how records of earlier merges describe the output, if there is one to replace."""
    output, base = settings.output.absolute().resolve(), settings.base_weight.absolute().resolve()
    checkpoints = [path.absolute().resolve() for path in settings.checkpoints]
    for path, what in (
        (base, Message("the base")),
        *((path, Message("the checkpoint")) for path in checkpoints),
    ):
        if output == path or output in path.parents or path in output.parents:
            raise UsageError(
                "The output {output} and {what} {file} overlap.",
                "Choose another --output.",
                output=settings.output,
                what=what,
                file=path,
            )
    file = merge_record_path(settings.output)
    record = _former_record(file)
    if record is None and os.path.lexists(file):
        raise UsageError(
            "{file} exists already, and fishtune did not write it.",
            "The merge writes its record there: choose another --output.",
            file=file,
        )
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return []
    if not output.is_dir() or record is None:
        raise UsageError(
            "{output} exists already, and fishtune did not write it.",
            "Choose another --output.",
            output=settings.output,
        )
    if not settings.overwrite:
        raise UsageError(
            "{output} exists already: it was merged from {checkpoint}.",
            "Choose another --output, or replace it with --overwrite.",
            output=settings.output,
            checkpoint=merged_from(record) or Message("an unknown checkpoint"),
        )
    former = _described(record, settings.base_weight)
    _refuse_strangers(output, former)
    return former


def _former_record(file: Path) -> dict[str, Any] | None:
    try:
        record = read_json(file)
    except FishtuneError:
        return None
    return record if isinstance(record, dict) and record.get("made_by") == _MADE_BY else None


def _described(record: dict[str, Any], base_weight: Path) -> list[Any]:
    if "files" in record:
        replaced = record.get("replaced")
        return [record["files"], *(replaced if isinstance(replaced, list) else [])][:2]
    # Records of earlier versions tell the weights and the base, whose other files were copied. The project
    # may have moved since; what is as in today's base is not lost either.
    merged, base = record.get("merged"), record.get("base")
    places = [Path(str(base.get("path")))] if isinstance(base, dict) else []
    weights = default_family().container(base_weight).path.name  # there was no other family then
    former = [describe(path, {weights: "-"}) for path in (*places, base_weight) if path.is_dir()]
    for described in former:
        if isinstance(merged, dict) and weights in described:
            described[weights]["sha256"] = str(merged.get("sha256"))
    return former


def _refuse_strangers(output: Path, former: list[Any]) -> None:
    found = strangers(output, *former) if output.is_dir() else []
    if found:
        raise UsageError(
            "{files} did not come from the merge, and replacing {output} would lose it.",
            "Move it away, or choose another --output.",
            files=first_of([output / name for name in found], 1),
            output=output,
        )


def _check_fit(
    source: Adapter | FullWeights,
    tensors: dict[str, Tensor],
    stored: dict[str, tuple[str, ...]],
    tied: bool,
    weights: Path,
    reporter: Reporter,
) -> None:
    shapes = {}
    for name, names in stored.items():
        parts = [tensors[part] for part in names]
        shapes[name] = (sum(len(part) for part in parts), *parts[0].shape[1:])
    check_fit(source, shapes, tied, weights)
    dtypes = {name: tensors[stored[name][0]].dtype for name in source.shapes}
    odd = [name for name, dtype in dtypes.items() if dtype not in _DTYPES]
    if odd:
        raise CheckpointError(
            "{weights} stores {name} as {dtype}, which cannot be adapted.",
            "Use the base as it was published, in bfloat16 or float32.",
            weights=weights,
            name=odd[0],
            dtype=dtypes[odd[0]],
        )
    if tied and isinstance(source, Adapter) and WORD_EMBEDDING in source.modules:
        reporter.warn(
            "{file} adapts the word embedding, which in this base is the output head too "
            "(tie_word_embeddings): merging changes both.",
            "Compare with the base by ear; adapters made by fishtune train never do this.",
            file=source.file,
        )


def _merge_weights(
    base: ModelDirectory, merged: Container, source: Adapter | FullWeights, reporter: Reporter
) -> int:
    """Replace the changed tensors in the copy `merged`; return how many."""
    stored = base.family.stored_names(base.container.locations)
    meter = ProgressMeter(reporter, "merging", len(source.shapes), "tensors")
    for file in {place.file for place in merged.locations.values()}:
        file.chmod(file.stat().st_mode | 0o200)  # a base kept read-only is still merged into a copy
    with (
        WeightsReader(base.container) as reader,
        WeightsEditor(merged) as editor,
        computing_threads() as pool,
    ):
        weights = {name: StoredRows(reader, stored[name]) for name in source.shapes}
        changes = {name: changed_weight(source, name, weight) for name, weight in weights.items()}

        def merge(name: str, rows: slice) -> None:
            reporter.check_stop(STOPPED)
            change = changes[name]
            assert change is not None
            editor.write_rows(stored[name], rows.start, change.of(weights[name][rows].float(), rows))

        for name, weight in weights.items():
            for _ in pool.map(partial(merge, name), row_slices(weight.shape)):
                pass
            meter.advance(detail=name)
    return len(source.shapes)


def _write_notices(
    base: ModelDirectory, source: Adapter | FullWeights, changed: int, folder: Path, reporter: Reporter
) -> None:
    """Add what the licence asks for, and tell it once."""
    how = "full fine-tuning" if isinstance(source, FullWeights) else f"adapters of rank {source.rank}"
    changes = f"fine-tuned with fishtune ({how}): {changed} tensors were changed"
    for name, text in base.family.notices(base.path, changes).items():
        write_text(folder / name, text)  # in a new file: the base's own may be linked here
    if base.family.terms:
        reporter.warn(base.family.terms)


def _record(
    settings: MergeSettings,
    sources: Sequence[Adapter | FullWeights],
    base_sha256: str,
    merged_sha256: str,
    verification: Verification,
) -> dict[str, Any]:
    source = sources[0]
    kind: dict[str, Any] = {"format": "full fine-tuning"}
    others = [
        {"path": str(path), "sha256": sha256(other.file)}
        for path, other in zip(settings.checkpoints[1:], sources[1:], strict=True)
    ]
    if others:
        kind["averaged_with"] = others
    if isinstance(source, Adapter):
        kind |= {
            "format": source.format,
            "rank": source.rank,
            "alpha": source.alpha,
            "use_rslora": source.use_rslora,
            "use_dora": source.use_dora,
            "base_precision": source.base_precision,
            "modules": sorted(source.modules),
        }
    return {
        "made_by": _MADE_BY,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "base": {"path": str(settings.base_weight), "sha256": base_sha256},
        "adapter": {"path": str(settings.checkpoints[0]), "sha256": sha256(source.file), **kind},
        "merged": {"path": str(settings.output), "sha256": merged_sha256},
        "settings": settings.model_dump(mode="json"),
        "verification": verification.model_dump(),
        "versions": {
            **{name: version(name) for name in ("fishtune", "torch", "peft")},
            "python": platform.python_version(),
        },
    }
