"""What somebody meant who typed an option or a command that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..messages import Message, near

_OPTIONS: Mapping[str, Sequence[str]] = {
    "accum": ("accumulation",),
    "accumulate-grad-batches": ("accumulation",),
    "alpha": ("lora-alpha", "lora-config"),
    "base-model": ("base", "base-weight"),
    "batch": ("batch-size", "batch-tokens"),
    "batch-size": ("batch-tokens",),
    "bs": ("batch-size", "batch-tokens"),
    "checkpoint": ("lora-weight", "checkpoint-path", "resume"),
    "checkpoint-dir": ("checkpoint-path", "base"),
    "ckpt": ("lora-weight", "checkpoint", "checkpoint-path", "resume"),
    "config": ("lora-config", "config-name"),
    "data": ("input", "protos"),
    "dtype": ("precision",),
    "epoch": ("epochs",),
    "eval-steps": ("validate-every",),
    "gpu": ("device",),
    "gpus": ("devices",),
    "grad-accum": ("accumulation",),
    "gradient-accumulation-steps": ("accumulation",),
    "input": ("data", "source"),
    "iterations": ("max-steps",),
    "lang": ("language",),
    "lora": ("lora-config",),
    "lr": ("learning-rate",),
    "lr-scheduler": ("schedule",),
    "max-grad-norm": ("gradient-clip",),
    "max-seq-length": ("max-length",),
    "model": ("base", "base-weight", "checkpoint"),
    "model-path": ("base", "base-weight", "checkpoint"),
    "name": ("project",),
    "num-epochs": ("epochs",),
    "out": ("output",),
    "output": ("out",),
    "output-dir": ("output", "local-dir", "results"),
    "patience": ("early-stopping",),
    "preset": ("lora-config",),
    "rank": ("lora-config",),
    "run": ("project",),
    "save-steps": ("checkpoint-every",),
    "scheduler": ("schedule",),
    "steps": ("max-steps",),
    "val-split": ("held-out",),
    "warmup": ("warmup-steps",),
    "wd": ("weight-decay",),
    "workers": ("num-workers",),
}
"""What other tools call an option of ours, likeliest first; the first that a command has is meant."""
_COMMANDS: Mapping[str, Sequence[str]] = {
    "build-dataset": ("pack",),
    "create": ("init",),
    "extract-vq": ("extract",),
    "fap": ("loudness-norm",),
    "finetune": ("train",),
    "fine-tune": ("train",),
    "fit": ("train",),
    "generate": ("synth",),
    "infer": ("synth",),
    "inference": ("synth",),
    "merge-lora": ("merge",),
    "new": ("init",),
    "say": ("synth",),
    "status": ("jobs",),
    "transcribe": ("prepare",),
    "tts": ("synth",),
}


def option_meant(option: str, known: Iterable[str]) -> Message:
    """Return the question which flag was meant by one that a command does not have, or nothing."""
    return _meant(option, {flag.lstrip("-"): flag for flag in known}, _OPTIONS)


def command_meant(name: str, known: Iterable[str]) -> Message:
    """Return the question which command was meant by one that does not exist, or nothing."""
    return _meant(name, {command: command for command in known}, _COMMANDS)


def _meant(typed: str, known: Mapping[str, str], other_names: Mapping[str, Sequence[str]]) -> Message:
    word = typed.strip("-").lower().replace("_", "-").removesuffix(".py")
    for name in (word, *other_names.get(word, ())):
        if name in known:
            return Message("Did you mean {name}?", name=known[name])
    return near(typed, list(known.values()))
