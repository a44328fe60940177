"""`fishtune presets`."""

from __future__ import annotations

from rich.table import Table

from ..config.presets import lora_presets, user_presets_folder
from .console import out, print_json, print_warning
from .options import Json


def presets(json: Json = False) -> None:
    """Show the LoRA presets: what each trains and when to use it.

    Example: fishtune presets
    """
    table, faults = lora_presets()
    for fault in faults:
        print_warning(fault)
    if json:
        print_json({name: preset.model_dump(mode="json") for name, preset in table.items()})
        return
    view = Table(box=None, pad_edge=False)
    for heading in ("preset", "rank", "alpha", "learning rate"):
        view.add_column(heading, justify="left" if heading == "preset" else "right", no_wrap=True)
    view.add_column("when to use it", overflow="fold")
    for name, preset in table.items():
        rank, alpha = (str(preset.rank), f"{preset.alpha:g}") if preset.method == "lora" else ("–", "–")
        view.add_row(name, rank, alpha, f"{preset.train.learning_rate:g}", preset.description)
    out.print(view, soft_wrap=False)
    out.print(f"\nYour own presets belong in {user_presets_folder() / 'lora'}")
