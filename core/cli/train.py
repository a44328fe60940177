"""`fishtune train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..config.project import Project
from ..config.settings import RunName, TrainOptions, TrainSettings
from ..config.strict import Table, parse, parse_flags
from ..errors import UsageError
from ..files import absolute
from ..units import format_duration
from .console import out
from .running import find_project, run_stage

_LENGTH, _LEARNING, _BATCHES, _WATCH, _MACHINE = (
    "How long",
    "What is learnt",
    "Batches and memory",
    "Watching and saving",
    "Devices",
)


def train(
    project: Annotated[
        str | None, typer.Option(help="Name of the run: results/NAME.", show_default="the project file's")
    ] = None,
    lora_config: Annotated[
        str | None,
        typer.Option(help="Preset: what is trained. See: fishtune presets", show_default="r_16_alpha_16"),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint directory of the base model.", show_default="checkpoints/openaudio-s1-mini"
        ),
    ] = None,
    protos: Annotated[Path | None, typer.Option(help="Packed data set.", show_default="data/protos")] = None,
    results: Annotated[Path | None, typer.Option(help="Folder of all runs.", show_default="results")] = None,
    resume: Annotated[
        str,
        typer.Option(
            help="auto: go on from the newest checkpoint; never: refuse to; or a .ckpt to go on from: "
            "those after it are moved to results/NAME/abandoned."
        ),
    ] = "auto",
    epochs: Annotated[
        float | None,
        typer.Option(
            min=0,
            rich_help_panel=_LENGTH,
            help="Passes over the clips. 250 to 400 are ordinary for small sets, above 600 they harm.",
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_LENGTH, help="Optimizer steps.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, rich_help_panel=_LENGTH, help="Wall-clock limit, minutes.")
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_LENGTH,
            help="Stop after so many validations without improvement.",
            show_default="never",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_LEARNING,
            help="Of an optimizer step, after the warm-up.",
            show_default="preset's, or 1e-4",
        ),
    ] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option(min=0, rich_help_panel=_LEARNING, help="Steps of linear warm-up.", show_default="10"),
    ] = None,
    schedule: Annotated[
        Literal["constant", "cosine", "linear"] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_LEARNING,
            help="Learning rate after the warm-up: constant, cosine or linear.",
            show_default="constant",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(min=0, rich_help_panel=_LEARNING, help="Of AdamW, per step.", show_default="0"),
    ] = None,
    gradient_clip: Annotated[
        float | None,
        typer.Option(rich_help_panel=_LEARNING, help="Largest norm of the gradient.", show_default="1"),
    ] = None,
    semantic_loss_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            rich_help_panel=_LEARNING,
            help="Weight of the codebooks' loss beside that of the semantic tokens.",
            show_default="preset's, or 1",
        ),
    ] = None,
    prompt: Annotated[
        Literal["inference", "legacy"] | None,
        typer.Option(
            rich_help_panel=_LEARNING,
            help="inference: what generation will build; legacy: what fish-speech's own training built.",
            show_default="inference",
        ),
    ] = None,
    reference_probability: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=_LEARNING,
            help="How often a clip comes with a reference of its speaker, so that cloning keeps working.",
            show_default="0.8",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            rich_help_panel=_LEARNING,
            help="Order of the clips, references and dropout follow from it.",
            show_default="1",
        ),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            min=16,
            rich_help_panel=_BATCHES,
            help="Columns of a micro-batch, padding included: what decides the memory. 21.5 are a second.",
            show_default="8192",
        ),
    ] = None,
    accumulation: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_BATCHES, help="Micro-batches an optimizer step.", show_default="1"
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=16,
            rich_help_panel=_BATCHES,
            help="Columns; longer clips are left out, by name.",
            show_default="4096",
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "bf16", "float32"] | None,
        typer.Option(
            rich_help_panel=_BATCHES,
            help="Of the frozen base and the arithmetic. auto: bf16 on a GPU that has it.",
            show_default="auto",
        ),
    ] = None,
    checkpointing: Annotated[
        Literal["none", "blocks"] | None,
        typer.Option(
            rich_help_panel=_BATCHES,
            help="blocks: recompute activations, for much less memory and a third more time.",
            show_default="blocks",
        ),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.99,
            rich_help_panel=_WATCH,
            help="Share of clips for validation.",
            show_default="0.05",
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_WATCH, help="Steps between validations.", show_default="100"),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_WATCH, help="Steps between checkpoints.", show_default="100"),
    ] = None,
    keep_last: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_WATCH, help="Checkpoints kept.", show_default="all")
    ] = None,
    gate: Annotated[
        bool | None,
        typer.Option(
            "--gate/--no-gate",
            rich_help_panel=_WATCH,
            help="Check first that the base is a trained model and the set-up sound. --no-gate is for "
            "bases with random weights.",
            show_default="gate",
        ),
    ] = None,
    loggers: Annotated[
        list[str] | None,
        typer.Option(
            "--logger",
            metavar="NAME",
            rich_help_panel=_WATCH,
            help="tensorboard, csv or wandb; may be repeated.",
            show_default="tensorboard, csv",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(rich_help_panel=_MACHINE, help="auto, cpu, cuda or cuda:N.", show_default="auto"),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_MACHINE, help="GPUs of this machine.", show_default="1"),
    ] = None,
    num_nodes: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_MACHINE, help="Machines that train together.", show_default="1"),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(
            min=0, rich_help_panel=_MACHINE, help="Data-loading processes; 0 = none.", show_default="0"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Fine-tune the base on the packed clips: LoRA by a preset, or all weights (--lora-config full).

    What no flag gives comes from fishtune.toml, then from the preset. Stopped or killed, the same command
    goes on from the last checkpoint, to the same weights as without the break. Checkpoints and logs go to
    results/NAME.

    The model learns a way of speaking, hardly a timbre: keep giving a reference clip at synthesis. The
    earliest checkpoint that satisfies usually does best on new texts.

    Example: fishtune train --project yoona --lora-config r_8_alpha_16 --max-steps 1000

    Several GPUs: --devices 2, or torchrun --nproc-per-node 2 -m fishtune.core.cli train --project yoona
    """
    given: dict[str, Any] = dict(locals())
    flags = {name: given[name] for name in TrainOptions.model_fields if given[name] is not None}
    settings = _settings(project, flags)
    places = {"base": base, "protos": protos, "results": results}
    settings = parse(
        TrainSettings,
        settings.model_dump(exclude_unset=True)
        | {name: absolute(path) for name, path in places.items() if path is not None}
        | {"resume": resume},
        "fishtune train",
    )
    summary = run_stage("train", settings, json=json)
    if summary is None or json:
        return
    loss = summary["validation_loss"]
    out.print(
        f"Trained to step {summary['step']} ({summary['clip_passes']:.0f} passes of each clip) in "
        f"{format_duration(summary['minutes'] * 60)}"
        + (f"; held-out loss {loss:.3f}, best at step {summary['best_step']}" if loss is not None else "")
    )
    out.print(f"Checkpoint: {summary['checkpoint']}")
    merge = ["fishtune", "merge", "--base-weight", settings.base, "--lora-weight", summary["checkpoint"]]
    merge += ["--output", settings.base.parent / f"{settings.project}-merged"]
    out.print(f"Next: {shlex.join(map(str, merge))}")


class _Named(Table):
    project: RunName


def _settings(name: str | None, flags: dict[str, Any]) -> TrainSettings:
    """Return flags over the project file's values over the preset's."""
    found = find_project()
    if found is None and name is None:
        raise UsageError(
            "The run has no name: there is no fishtune.toml here and no --project.",
            "Name it, for example: fishtune train --project yoona",
        )
    if name is not None:
        parse_flags(_Named, project=name)
    parse_flags(TrainOptions, **flags)  # wrong ones are told as flags, not as keys of the project file
    folder, tables = (found.folder, found.model_dump(exclude_unset=True)) if found else (Path.cwd(), {})
    tables["train"] = tables.get("train", {}) | flags
    own_name = tables.pop("name", "")
    return Project.create(folder, name or own_name, **tables).train_settings()
