"""The wizard's forms take from the settings models what a field is."""

from __future__ import annotations

from fishtune.core.config.options import Description, Group, Kind, describe
from fishtune.core.config.project import Project
from fishtune.tui.dialogs.audition import FIELDS as AUDITION_FIELDS
from fishtune.tui.steps.dataset import DatasetPane
from fishtune.tui.steps.extract import ExtractPane
from fishtune.tui.steps.merge import MergePane
from fishtune.tui.steps.model import ModelPane
from fishtune.tui.steps.pack import PackPane
from fishtune.tui.steps.train import TrainPane
from fishtune.tui.widgets.form import Field
from pydantic import BaseModel

FIELDS = [
    field
    for pane in (DatasetPane, ModelPane, ExtractPane, PackPane, TrainPane, MergePane)
    for field in pane.fields
] + list(AUDITION_FIELDS)
ELSEWHERE = {("train", "lora_config")}
"""Chosen from a table of presets instead of a form."""


def options() -> dict[tuple[str, str], Description]:
    """Return every option of the project file by table and name."""
    tables = {name: field.annotation for name, field in Project.model_fields.items()}
    return {
        (table, field.name): field
        for table, model in tables.items()
        if isinstance(model, type) and issubclass(model, BaseModel)
        for field in describe(model).values()
    }


def test_the_forms_offer_the_options_that_are_not_rare_and_no_others() -> None:
    offered = {place for place, field in options().items() if field.option.group is not Group.RARE}
    assert {(field.table, field.name) for field in FIELDS} | ELSEWHERE == offered


def test_only_training_has_options_to_be_unfolded_and_shows_three_at_once() -> None:
    folded = {field.table for field in FIELDS if field.group is Group.ADVANCED}
    shown = [field.name for field in TrainPane.fields if field.group is Group.BASIC]
    assert folded == {"train"}
    assert shown == ["epochs", "checkpoint_every"], "and the preset, from its table"


def test_a_field_has_the_title_the_help_and_the_kind_that_the_settings_give_it() -> None:
    field = Field("extract", "batch_seconds")
    assert (field.label, field.kind) == ("Seconds per batch", Kind.NUMBER)
    assert field.help == "Maximum seconds of audio per batch, padding included."
    assert Field("pack", "shard_size").kind is Kind.WHOLE
    assert Field("model", "path").kind is Kind.PATH
    assert Field("extract", "device", (("", "automatic"),)).kind is Kind.CHOICE


def test_the_forms_offer_only_values_that_the_settings_take() -> None:
    for field in FIELDS:
        choices = options()[field.table, field.name].choices
        assert {value for value, _ in field.options if choices and value} <= set(choices)
