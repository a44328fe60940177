"""Writes docs/memory.md: which batch fits which card, by what core/hardware/memory knows.

python benchmarks/memory.py            writes the page
python benchmarks/memory.py --check    exits with 1 if the committed page is another
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

from fishtune.core.codec.config import CodecConfig
from fishtune.core.config.presets import lora_preset, model_preset, read_preset
from fishtune.core.config.settings import BasePrecision, TrainOptions
from fishtune.core.hardware.memory.estimate import CONTEXT_BYTES, RESERVED_SHARE, Part
from fishtune.core.hardware.memory.needs import EncodingNeeds, TrainingNeeds
from fishtune.core.hardware.memory.profiles import profile_tables
from fishtune.core.hardware.memory.suggest import (
    CARD_SIZES,
    MARGIN_BYTES,
    Available,
    suggest_extraction,
    suggest_training,
)
from fishtune.core.model.families import base_model
from fishtune.core.units import format_bytes

PAGE = Path(__file__).parent.parent / "docs" / "memory.md"
MODEL, LARGE_MODEL = "openaudio-s1-mini", "s2-pro"
PRESETS = (
    "slow_r_8_alpha_16",
    "r_16_alpha_16",
    "r_64_alpha_64",
    "fast_r_16_alpha_16",
    "r_8_alpha_16",
    "full",
)
LARGE_PRESETS = tuple(name for name in PRESETS if name != "r_8_alpha_16")
"""That one adapts the word embedding, which in S2-Pro is the output head too."""
LARGE_CARD_SIZES = (12, 16, 24, 32, 48, 80)
SMALL_CARD_SIZES = (8, 12, 16, 24)
QUANTISED_PRESETS = ("slow_r_8_alpha_16", "r_16_alpha_16", "r_64_alpha_64", "fast_r_16_alpha_16")
MICRO_BATCHES = (2048, 4096)
"""Of the tensors of a step that are told one by one."""
LONGEST = 2048
"""Columns of the longest sample: a clip and its reference of 45 s each."""
EFFECTIVE = 8192
CLIP_SECONDS, TYPICAL_SECONDS = 20.0, 5.0


def _worst() -> str:
    """Return how far the tables are off where they were checked, in words."""
    entries = [entry for table in profile_tables().values() for entry in table.entries]
    errors = [
        abs(sum(entry.profile.at(check.of()).values()) / check.bytes - 1)
        for entry in entries
        for check in entry.checks
    ]
    return f"of {len(errors)}, none is more than {max(errors):.1%} off"


VERSIONS = profile_tables()[MODEL].versions
MEASURED = (
    f"That is done for each preset, precision and way of checkpointing at micro-batches of "
    f"{', '.join(map(str, profile_tables()[MODEL].entries[0].profile.sizes))} tokens,\nat one with fewer "
    "learnt frames, and at two of longer clips"
)
WORST = _worst()
INTRODUCTION = f"""\
# Which batch fits which card

Made by `benchmarks/memory.py` from what `fishtune estimate` uses; a test compares. Ask about your own
settings with `fishtune estimate`, about other cards with `fishtune estimate --gpu-memory 24GiB`.

## How the numbers are made

Counted are all tensors of a step, as torch allocates them. The real modules, loss and adapters run forward
and backward in the model's true shape on tensors without content (torch's meta device), and every storage is
counted while it lives. No GPU and little memory is needed for that, and nothing is written down a second
time. What a GPU does otherwise is put in its place: fused attention, dropout's masks, autocast.

{MEASURED}. Between and beyond them memory is taken to grow along straight lines, phase by phase of the step;
the peak is that of the phase which needs most. Points that no line goes through are counted too and kept
beside them: {WORST}. Far beyond the last size a line may
lead too high: by 11% at 16,000 tokens of S2-Pro trained whole without recomputation. `make memory-table`
makes the tables in `presets/memory`, with torch {VERSIONS["torch"]} and peft {VERSIONS["peft"]}. For another
model, codec or preset `fishtune estimate`, the wizard and the start of a training make the same once, in up
to a minute, and keep it in `~/.cache/fishtune/memory`.

Two allowances are assumptions: {format_bytes(CONTEXT_BYTES)} for the CUDA context and {RESERVED_SHARE:.0%} of
what comes and goes for fragmentation; workspaces inside cuDNN are not counted. {format_bytes(MARGIN_BYTES)}
stay free. Attention is assumed to be FlashAttention in bf16; in float32 torch falls back to all products of
queries and keys, which grows with the square of a clip's length. Training is counted as if every column were
learnt, which bounds it. Where Triton and a C compiler are found, training on this machine's GPU runs compiled
blocks, which keep a quarter less with `--checkpointing none`: predictions know that, the tables below do not
count on it. The peak measured at the start of a run corrects what is suggested next time
(`~/.cache/fishtune/memory.json`).

A card's memory is taken to be free. A desktop, ECC or another program take their share of it:
`fishtune gpus` shows what is left.
"""


def document() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *training(), "", *extraction(), ""])


def training() -> list[str]:
    """Return the section on training."""
    return [
        "## Training",
        "",
        f"S1-mini in bf16, samples of up to {LONGEST} tokens ({LONGEST / 21.53:.0f} s, the reference "
        f"included), {EFFECTIVE} tokens per optimizer step. In a cell: `--batch-tokens` × "
        "`--accumulation`, and the memory needed. The first of two lines recomputes activations "
        "(`--checkpointing blocks`, the default), the second keeps them (`none`, faster).",
        "",
        *_table(MODEL, PRESETS, CARD_SIZES),
        "",
        "S2-Pro, in the same way:",
        "",
        *_table(LARGE_MODEL, LARGE_PRESETS, LARGE_CARD_SIZES),
        "",
        "S2-Pro over a base in few bits (`--base-precision`, [quantised.md](quantised.md)), for small cards:",
        "",
        *_table(LARGE_MODEL, QUANTISED_PRESETS, SMALL_CARD_SIZES, "int8"),
        "",
        *_table(LARGE_MODEL, QUANTISED_PRESETS, SMALL_CARD_SIZES, "nf4"),
        "",
        "Tensors of a step of `r_16_alpha_16` alone, without context and reserve, GB (10⁹), activations "
        "recomputed:",
        "",
        *_tensors(),
    ]


def _tensors() -> list[str]:
    _, config = base_model(Path(), LARGE_MODEL)
    lines = [
        "| base | " + " | ".join(f"{tokens} tokens" for tokens in MICRO_BATCHES) + " | of it weights |",
        "| --- |" + " --- |" * (len(MICRO_BATCHES) + 1),
    ]
    for precision in (None, *get_args(BasePrecision)):
        options = TrainOptions(batch_tokens=EFFECTIVE, base_precision=precision)
        needs = TrainingNeeds(config, options, lora_preset("r_16_alpha_16"), longest=LONGEST)
        found = [needs.predicted(tokens) for tokens in MICRO_BATCHES]
        sizes = [*(each.tensors for each in found), found[0].parts[Part.WEIGHTS]]
        lines.append(f"| {precision or 'bf16'} | " + " | ".join(f"{size / 1e9:.1f}" for size in sizes) + " |")
    return lines


def _table(
    model: str, presets: tuple[str, ...], sizes: tuple[int, ...], precision: BasePrecision | None = None
) -> list[str]:
    _, config = base_model(Path(), model)
    lines = [
        f"| {f'preset, base in {precision}' if precision else 'preset'} | "
        + " | ".join(f"{size} GB" for size in sizes)
        + " |",
        "| --- |" + " --- |" * len(sizes),
    ]
    for name in presets:
        for checkpointing in ("blocks", "none"):
            options = TrainOptions(
                batch_tokens=EFFECTIVE, checkpointing=checkpointing, base_precision=precision
            )
            needs = TrainingNeeds(config, options, lora_preset(name), longest=LONGEST)
            cells = [_training_cell(needs, size) for size in sizes]
            lines.append(
                f"| {f'`{name}`' if checkpointing == 'blocks' else '… kept'} | {' | '.join(cells)} |"
            )
    return lines


def _training_cell(needs: TrainingNeeds, size: int) -> str:
    found = suggest_training(needs, Available.card(size * 1024**3))
    if not found.fits:
        return "–"
    return f"{found.batch_tokens} × {found.accumulation}, {format_bytes(found.need.total)}"


def extraction() -> list[str]:
    """Return the section on extraction."""
    config = CodecConfig.model_validate(read_preset("codec", model_preset(MODEL).codec))
    lines = [
        "## Extraction",
        "",
        f"Clips of up to {CLIP_SECONDS:.0f} s, typically {TYPICAL_SECONDS:.0f} s. At most 10 minutes of "
        "audio per batch are suggested: larger ones only delay progress and a stop.",
        "",
        "| | " + " | ".join(f"{size} GB" for size in (4, *CARD_SIZES)) + " |",
        "| --- |" + " --- |" * (len(CARD_SIZES) + 1),
    ]
    found = [
        suggest_extraction(
            EncodingNeeds(config), Available.card(size * 1024**3), CLIP_SECONDS, typical=TYPICAL_SECONDS
        )
        for size in (4, *CARD_SIZES)
    ]
    lines.append("| `--batch-seconds` | " + " | ".join(f"{each.batch_seconds:.0f}" for each in found) + " |")
    lines.append("| `--batch-size` | " + " | ".join(str(each.batch_size) for each in found) + " |")
    lines.append("| needed | " + " | ".join(format_bytes(each.need.total) for each in found) + " |")
    return lines


def main() -> int:
    """Write or check the page."""
    page = document()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
