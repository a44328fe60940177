"""Configurations that no real model has are refused before anything is built or allocated by them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.codec.codec import Codec
from fishtune.core.codec.config import CodecConfig, codec_config
from fishtune.core.config.presets import model_preset, preset_names, read_preset
from fishtune.core.config.strict import parse
from fishtune.core.errors import CheckpointError, FishtuneError, SettingsError
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

GOLDEN = Path(__file__).parent / "golden/base"
CONFIG = json.loads((GOLDEN / "config.json").read_text())
CODEC_CONFIG = json.loads((GOLDEN / "codec_config.json").read_text())
HUGE = [10**9, 2**31, 2**53 + 1, 2**63 - 1, 2**64, 10**400]
NO_COUNT = [0, -1, -(2**63), 1.5, 64.0, True, "64", [64], {}]
INTEGERS = [key for key, value in CONFIG.items() if isinstance(value, int) and not isinstance(value, bool)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "base"))


@contextmanager
def refused(value: Any, match: str, *errors: type[FishtuneError]) -> Iterator[None]:
    """Fail, and say for which value, unless one of the errors is raised with a message that matches."""
    message = "nothing"
    try:
        yield
    except errors as error:
        message = str(error)
    assert re.search(match, message), f"{value!r} was answered with {message}"


@pytest.mark.parametrize("key", [key for key in INTEGERS if key != "rope_base"])
def test_a_size_that_no_model_has_is_named(directory: Path, key: str) -> None:
    for value in (*HUGE, *NO_COUNT):
        if key.endswith("n_local_heads") and value == -1:
            continue  # as many as heads
        (directory / "config.json").write_text(json.dumps(CONFIG | {key: value}))
        with refused(value, rf"config\.json.*({key}(: | 0)|number of \d+ digits|64 bits)", CheckpointError):
            ModelDirectory.open(directory)


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "0", "-1", "true", '"1"', "1e300"]
)
@pytest.mark.parametrize("key", ["norm_eps", "rope_base", "initializer_range"])
def test_a_number_that_no_model_has_is_named(directory: Path, key: str, value: str) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | {key: "HERE"}).replace('"HERE"', value))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        ModelDirectory.open(directory)


def test_a_table_of_positions_that_no_model_has_is_refused(directory: Path) -> None:
    changes = {"max_seq_len": 1 << 20, "head_dim": 4096}
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    with pytest.raises(CheckpointError, match="max_seq_len 1048576 times head_dim 4096 is more than any"):
        ModelDirectory.open(directory)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 100_000, "[]", "null", " " * (2 << 20), "\0"])
@pytest.mark.parametrize("name", ["config.json", "codec_config.json"])
def test_what_is_no_table_of_settings_is_named(directory: Path, name: str, content: str) -> None:
    (directory / name).write_text(content)
    with pytest.raises((CheckpointError, SettingsError), match=rf"/{name}") as caught:
        ModelDirectory.open(directory)
        codec_config(directory / "codec.pth", "modded_dac_vq")
    assert len(caught.value.message) < 400


def paths(table: dict[str, Any], *above: str) -> list[tuple[str, ...]]:
    """Return the path of every value in nested tables."""
    found = []
    for key, value in table.items():
        found += paths(value, *above, key) if isinstance(value, dict) else [(*above, key)]
    return found


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the golden codec's configuration with one other value; in a list every entry."""
    content = json.loads(json.dumps(CODEC_CONFIG))
    table = content
    for key in path[:-1]:
        table = table[key]
    was = table[path[-1]]
    table[path[-1]] = [value] * len(was) if isinstance(was, list) else value
    return content


@pytest.mark.parametrize("path", paths(CODEC_CONFIG), ids=".".join)
def test_a_size_that_no_codec_has_is_named(directory: Path, path: tuple[str, ...]) -> None:
    for value in (*HUGE, *NO_COUNT):
        if value == 0 and path[-1].endswith("transformer_layers"):
            continue
        if path[-1] == "rope_base" and value in (1.5, 64, 10**9, 2**31):
            continue
        (directory / "codec_config.json").write_text(json.dumps(with_value(path, value)))
        with refused(value, r"codec_config\.json", SettingsError, CheckpointError):
            codec_config(directory / "codec.pth", "modded_dac_vq")


@pytest.mark.parametrize("count", [13, 100_000])
@pytest.mark.parametrize("key", ["encoder_rates", "decoder_rates", "encoder_transformer_layers"])
def test_more_rates_than_any_codec_has_are_refused_in_a_short_sentence(
    directory: Path, key: str, count: int
) -> None:
    (directory / "codec_config.json").write_text(json.dumps(CODEC_CONFIG | {key: [1] * count}))
    with pytest.raises((SettingsError, CheckpointError), match=r"codec_config\.json") as caught:
        codec_config(directory / "codec.pth", "modded_dac_vq")
    assert len(caught.value.message) < 1000


def test_the_published_shapes_keep_the_bounds() -> None:
    for name in preset_names("codec"):
        parse(CodecConfig, read_preset("codec", name), name)
    for name in preset_names("models"):
        S1().read_shape(model_preset(name).config, "config.json")


_VALUES = st.one_of(
    st.integers(),
    st.integers(1, 4096),
    st.floats(),
    st.none(),
    st.booleans(),
    st.text("01.a가", max_size=3),
    st.just([]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(sorted(CONFIG)), _VALUES, min_size=1, max_size=3))
@example(changes={"n_layer": 512, "n_fast_layer": 512, "dim": 65536, "vocab_size": 1 << 22})
@example(changes={"max_seq_len": 1 << 20, "head_dim": 64, "num_codebooks": 128, "codebook_size": 65536})
def test_a_configuration_is_refused_or_makes_a_model(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
    try:
        config = ModelDirectory.open(tmp_path).shape
    except FishtuneError as error:
        assert "config.json" in error.message
        return
    with torch.device("meta"):
        DualAR(config, 0, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(paths(CODEC_CONFIG)), value=_VALUES)
@example(path=("quantizer", "n_codebooks"), value=256)
@example(path=("quantizer_transformer", "n_layer"), value=256)
def test_a_codec_configuration_is_refused_or_makes_a_codec(
    tmp_path: Path, path: tuple[str, ...], value: Any
) -> None:
    (tmp_path / "codec_config.json").write_text(json.dumps(with_value(path, value)))
    try:
        config = codec_config(tmp_path / "codec.pth", "modded_dac_vq")
    except FishtuneError as error:
        assert "codec_config.json" in error.message
        return
    with torch.device("meta"):
        Codec(config)
