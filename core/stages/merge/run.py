"""Merging: a base and a checkpoint to a directory that takes the base's place.

The base's weights file is copied and the adapted tensors in it are replaced, piece by piece, computed in
float32 and cast to the base's dtype; memory never holds more than the base's pages and one piece. The
result is compared with base + adapter before it gets its name.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import torch
from pydantic import BaseModel
from torch import Tensor

from ...compute.weights import load_strict, refuse_not_finite
from ...config.presets import lora_preset
from ...config.project import merge_record_path
from ...config.settings import MergeSettings
from ...errors import CheckpointError, FishtuneError, UsageError
from ...events import ProgressMeter, Reporter
from ...files import atomic_folder, recover_folder, sha256, storage_errors, write_json, write_text
from ...lora.files import Adapter, FullWeights, ModuleAdapter, check_fit, read_adapter
from ...messages import Message, first_of, of_the_system
from ...model.base_hash import base_hash
from ...model.checkpoint import build_model, own_tensors
from ...model.containers.container import Container, WeightsEditor, combined_sha256, split_rows
from ...model.directory import ModelDirectory
from ...model.families import default_family
from ...model.targets import WORD_EMBEDDING
from ...ownership import describe, strangers
from ...reading import open_regular, reading
from ...tables import read_json
from .proof import Verification, verify_merge

_BLOCK = 1 << 24
_STOPPED = Message("Nothing was written.")
_OWN_FILES = ".fishtune"
"""What fishtune itself keeps in a checkpoint directory (records of a download) begins with this."""
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
    source = read_adapter(settings.lora_weight, preset, settings.lora_alpha)
    base = ModelDirectory.open(settings.base_weight)
    weights = base.container.path
    tensors = base.container.tensors()
    stored = base.family.stored_names(tensors)
    # Whether the base itself is complete; its weights stay on disk.
    model = build_model(base.shape, base.tokenizer, base.path)
    load_strict(model, own_tensors(base.family, tensors), weights)
    del model
    refuse_not_finite(tensors.items(), weights)
    _check_fit(source, tensors, stored, base.shape.tie_word_embeddings, weights, reporter)
    base_sha256 = base_hash(settings.base_weight, reporter)
    if source.base_sha256 not in (None, base_sha256):
        raise CheckpointError(
            "{checkpoint} was trained on another base: its weights have the hash {hash}, "
            "those of {base} {other}.",
            "Give the base it was trained on with --base-weight.",
            checkpoint=settings.lora_weight,
            hash=str(source.base_sha256)[:12],
            base=settings.base_weight,
            other=base_sha256[:12],
        )

    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(output)
    with atomic_folder(output) as folder:
        merged = base.container.of(folder)
        linked = _copy_files(settings, base.container, folder, reporter)
        changed = _merge_weights(merged, source, tensors, stored, reporter)
        _write_notices(base, source, changed, folder, reporter)
        del tensors
        verification = verify_merge(base, folder, source, reporter)
        hashes = {file.name: sha256(file) for file in merged.files}
        reporter.check_stop(_STOPPED)
        # Before the folder gets its name: a merge killed between the two must find its own output again.
        record = _record(settings, source, base_sha256, combined_sha256(hashes), verification)
        record["files"] = describe(folder, hashes)
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


def _check_output(settings: MergeSettings) -> list[Any]:
    """Return how records of earlier merges describe the output, if there is one to replace."""
    output, base = settings.output.absolute().resolve(), settings.base_weight.absolute().resolve()
    checkpoint = settings.lora_weight.absolute().resolve()
    for path, what in ((base, Message("the base")), (checkpoint, Message("the checkpoint"))):
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
            "{output} exists already.",
            "Choose another --output, or replace it with --overwrite.",
            output=settings.output,
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


def _copy_files(settings: MergeSettings, weights: Container, folder: Path, reporter: Reporter) -> bool:
    """Copy the base's files, the weights always, the others as links where asked; return whether linked."""
    base = settings.base_weight
    files = sorted(
        path.relative_to(base)
        for path in base.rglob("*")
        if path.is_file() and not path.relative_to(base).parts[0].startswith(_OWN_FILES)
    )
    meter = ProgressMeter(reporter, "copying", sum((base / name).stat().st_size for name in files), "bytes")
    linked = settings.link
    for name in files:
        source, target = (base / name).resolve(), folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if settings.link and base / name not in weights.files:
            try:
                os.link(source, target)
                meter.advance(source.stat().st_size, str(name))
                continue
            except OSError as error:
                linked = False
                reporter.warn(
                    "{name} could not be linked ({reason}) and was copied.",
                    "Links need base and output on one file system that knows them.",
                    name=name,
                    reason=of_the_system(error),
                )
        with open_regular(source, CheckpointError) as read, target.open("wb") as write:
            while block := _read_block(read, source):
                reporter.check_stop(_STOPPED)
                write.write(block)
                meter.advance(len(block), str(name))
        shutil.copystat(source, target)
    return linked


def _read_block(file: IO[bytes], source: Path) -> bytes:
    with reading(source, CheckpointError):
        return file.read(_BLOCK)


def _merge_weights(
    container: Container,
    source: Adapter | FullWeights,
    tensors: dict[str, Tensor],
    stored: dict[str, tuple[str, ...]],
    reporter: Reporter,
) -> int:
    """Replace the changed tensors in the copy `container`; return how many."""
    changes: dict[str, ModuleAdapter | Tensor] = {}
    if isinstance(source, FullWeights):
        changes.update(source.tensors)
    else:
        changes.update({f"{name}.weight": part for name, part in source.modules.items()})
    meter = ProgressMeter(reporter, "merging", len(changes), "tensors")
    for file in {place.file for place in container.locations.values()}:
        file.chmod(file.stat().st_mode | 0o200)  # a base kept read-only is still merged into a copy
    with WeightsEditor(container) as editor:
        for name, change in changes.items():
            reporter.check_stop(_STOPPED)
            names = stored[name]
            for first, rows in _merged_rows(change, [tensors[part] for part in names]):
                for part, place, its_rows in split_rows(editor.locations, names, first, rows):
                    editor.write_rows(part, place, its_rows)
            meter.advance(detail=name)
    return len(changes)


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


def _merged_rows(change: ModuleAdapter | Tensor, parts: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
    if isinstance(change, Tensor):
        yield 0, change
    else:
        yield from change.adapted(parts[0] if len(parts) == 1 else torch.cat(parts))


def _record(
    settings: MergeSettings,
    source: Adapter | FullWeights,
    base_sha256: str,
    merged_sha256: str,
    verification: Verification,
) -> dict[str, Any]:
    kind: dict[str, Any] = {"format": "full fine-tuning"}
    if isinstance(source, Adapter):
        kind = {
            "format": source.format,
            "rank": source.rank,
            "alpha": source.alpha,
            "use_rslora": source.use_rslora,
            "use_dora": source.use_dora,
            "modules": sorted(source.modules),
        }
    return {
        "made_by": _MADE_BY,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "base": {"path": str(settings.base_weight), "sha256": base_sha256},
        "adapter": {"path": str(settings.lora_weight), "sha256": sha256(source.file), **kind},
        "merged": {"path": str(settings.output), "sha256": merged_sha256},
        "settings": settings.model_dump(mode="json"),
        "verification": verification.model_dump(),
        "versions": {
            **{name: version(name) for name in ("fishtune", "torch", "peft")},
            "python": platform.python_version(),
        },
    }
