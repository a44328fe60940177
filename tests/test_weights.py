"""Reading weights: safe, strict, and without a second copy."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from fishtune.core.compute.weights import load_strict, read_state_dict
from fishtune.core.errors import CheckpointError
from torch import nn


class _Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.touched,)


def test_a_wrapped_state_dict_is_unwrapped(tmp_path: Path) -> None:
    weights = {"weight": torch.arange(4.0)}
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "model.pth")
    read = read_state_dict(tmp_path / "model.pth")
    assert read.keys() == weights.keys()
    torch.testing.assert_close(read["weight"], weights["weight"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    file, touched = tmp_path / "model.pth", tmp_path / "touched"
    content = {"weight": torch.zeros(2), "extra": _Payload(touched)}
    if zipped:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    message = r"holds more than weights; .* \(it asks for .*\)" if zipped else "no torch.save archive"
    with pytest.raises(CheckpointError, match=rf"model\.pth .*{message}"):
        read_state_dict(file)
    assert not touched.exists()


@pytest.mark.parametrize("kept", [0, 100, 20_000, 0.5, 0.99])
def test_a_truncated_file_is_named(golden: Path, tmp_path: Path, kept: float) -> None:
    content = (golden / "base/model.pth").read_bytes()
    file = tmp_path / "model.pth"
    file.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"model\.pth cannot be read as weights .*: it is cut short"):
        read_state_dict(file)


@pytest.mark.parametrize("content", [[1, 2], {}, {"weight": 1}, {"state_dict": {"weight": "a"}}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"no state dict|non-tensor values"):
        read_state_dict(tmp_path / "model.pth")


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        read_state_dict(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pth does not exist"):
        read_state_dict(tmp_path / "model.pth")


def test_all_that_does_not_fit_is_in_one_error() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False))
    tensors = {
        "0.weight": torch.zeros(3, 4),
        "1.weight": torch.zeros(2, 3),
        "2.weight": torch.zeros(2, 2, dtype=torch.int64),
        "3.weight": torch.zeros(1),
    }
    with pytest.raises(CheckpointError) as caught:
        load_strict(module, tensors, Path("model.pth"))
    assert caught.value.message == (
        "The weights in model.pth do not fit the configuration: 1 missing: 0.bias; 1 unexpected: 3.weight; "
        "1 of another shape: 0.weight is (3, 4) instead of (3, 2); 1 of another kind of number: 2.weight."
    )


def test_loaded_weights_are_the_tensors_that_were_read(golden: Path, tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 4).state_dict(), tmp_path / "model.pth")
    tensors = read_state_dict(tmp_path / "model.pth")
    with torch.device("meta"):
        module = nn.Linear(4, 4)
    load_strict(module, tensors, tmp_path / "model.pth")
    assert module.weight.data_ptr() == tensors["weight"].data_ptr()


def test_an_unchanged_file_is_not_written_through(golden: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    shutil.copy(golden / "base/model.pth", file)
    before = file.read_bytes()
    read_state_dict(file)["norm.weight"].fill_(7)
    assert file.read_bytes() == before
