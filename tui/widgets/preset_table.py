"""The LoRA presets: the recommended one first, when to use each, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from ...core.config.presets import LoraPreset
from ...core.config.settings import TrainOptions
from ..access import wizard
from ..catalogue import _
from ..wording import fit, fit_words, harmless, parameters, plain, right, size
from .table import Table

if TYPE_CHECKING:
    from ..estimates import Estimate

RECOMMENDED: str = TrainOptions.model_fields["lora_config"].default
_WIDE = 90
_LONGEST_NAME = 24
_Columns = list[tuple[str, int | None, Literal["left", "right"]]]


class PresetTable(Vertical):
    """Rows to choose from; below them when the one under the cursor is used, in full."""

    DEFAULT_CSS = """
    PresetTable { height: auto; }
    PresetTable #presets { height: auto; max-height: 6; }
    PresetTable #preset-help { height: auto; max-height: 3; color: $text-muted; }
    PresetTable.-wide #presets { max-height: 11; }
    """

    class Chosen(Message):
        """The user wants a preset."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, presets: dict[str, LoraPreset], chosen: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._presets = dict(sorted(presets.items(), key=lambda item: item[0] != RECOMMENDED))
        self._chosen = chosen
        self._needs: dict[str, Estimate | None] = {}
        self._shown_columns: _Columns = []

    def compose(self) -> ComposeResult:
        self._shown_columns = self._columns()
        yield Table(self._shown_columns, id="presets", enter_does=_("Use"))
        yield Static("", id="preset-help", markup=False)

    def on_mount(self) -> None:
        self._show()
        self.query_one(Table).select_key(self._chosen)

    def on_resize(self, _event: events.Resize) -> None:
        self.set_class(self._is_wide, "-wide")
        columns = self._columns()
        if columns != self._shown_columns:
            self._shown_columns = columns
            self.query_one(Table).show_columns(columns)
            self._show()

    def show_chosen(self, name: str) -> None:
        """Mark the preset that the project has."""
        self._chosen = name
        self._show()

    def take_needs(self, needs: dict[str, Estimate | None]) -> None:
        """Take what training with some presets needs; None = nothing can be said."""
        self._needs.update(needs)
        self._show()

    def need_of(self, name: str) -> Estimate | None:
        """Return what is known of a preset's needs."""
        return self._needs.get(name)

    def _columns(self) -> _Columns:
        numbers: _Columns = [
            (_("rank"), 4, "right"),
            (_("alpha"), 5, "right"),
            (_("trainable"), 9, "right"),
        ]
        return [
            ("", 1, "left"),
            (_("LoRA preset"), self._name_room, "left"),
            (_("when to use it"), self._when_room, "left"),
            *(numbers if self._is_wide else []),
            (_("memory"), 9, "right"),
        ]

    @property
    def _is_wide(self) -> bool:
        return self.size.width >= _WIDE

    @property
    def _name_room(self) -> int:
        return min(max(map(cell_len, self._presets), default=0), _LONGEST_NAME)

    @property
    def _when_room(self) -> int:
        """Columns that are left; every column has two of padding, and the scroll bar takes one."""
        taken: list[int] = [1, self._name_room, 9, *((4, 5, 9) if self._is_wide else ())]
        return max(self.size.width - sum(taken) - 2 * (len(taken) + 1) - 1, 10)

    def _show(self) -> None:
        sign, rows = wizard(self).glyphs.chosen, []
        for name, preset in self._presets.items():
            need = self._needs.get(name)
            missing = "–" if name in self._needs else "…"
            style = "bold" if name == self._chosen else ""
            numbers = _numbers(preset, need, missing) if self._is_wide else ()
            cells = (
                plain(sign if name == self._chosen else " ", style),
                plain(fit(name, self._name_room), style),
                plain(fit_words(_(preset.description), self._when_room), style),
                *(right(number, style) for number in numbers),
                right(size(need.needed) if need else missing, style),
            )
            rows.append((name, cells))
        self.query_one(Table).show_rows(rows)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        preset = self._presets.get(str(event.row_key.value))
        if preset is not None:
            self.query_one("#preset-help", Static).update(Text(harmless(_(preset.description))))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        name = str(event.row_key.value)
        if name in self._presets:
            self.post_message(self.Chosen(name))


def _numbers(preset: LoraPreset, need: Estimate | None, missing: str) -> tuple[str, str, str]:
    """Return rank, alpha and number of trained weights."""
    lora = preset.method == "lora"
    trained = parameters(need.trainable) if need and need.trainable else missing
    return str(preset.rank) if lora else "–", f"{preset.alpha:g}" if lora else "–", trained
