"""A converted checkpoint holds what the checkpoint held, bit for bit, and needs no Normlab to be read."""

import json
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from normlab.exporting.conversion import ConversionFailed, Converter
from normlab.exporting.documents import readme
from tests.support.trainings import last_of, make_spec, run
from trainer.conversion import STRUCTURE, TIED, convert


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Also where they are NaN, and -0.0 isn't 0.0."""
    raw = [one.contiguous().reshape(-1).view(torch.uint8) for one in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*raw)


def converted(value: Any, folder: Path, **metadata: str) -> Path:
    torch.save(value, folder / "checkpoint.pt")
    convert(folder / "checkpoint.pt", folder / "checkpoint.safetensors", metadata)
    return folder / "checkpoint.safetensors"


def rebuilt(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """By the code that the README of an export shows."""
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", readme().decode(), re.DOTALL)
        if "rebuild" in block
    )
    monkeypatch.chdir(path.parent)
    place = path.parent / "jobs" / "j12"
    place.mkdir(parents=True)
    path.rename(place / "last.safetensors")
    names: dict[str, Any] = {}
    exec(code, names)
    return names["checkpoint"]


def test_weights_keep_their_names_and_every_bit(tmp_path: Path) -> None:
    weights = {
        "image.weight": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "part": torch.arange(10, dtype=torch.int32)[3:5],
        "half": torch.randn(7).bfloat16(),
        "steps": torch.tensor(17),
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "odd": torch.tensor([float("nan"), float("-inf"), -0.0, 5e-324], dtype=torch.float64),
    }
    loaded = load_file(converted(weights, tmp_path))
    assert loaded.keys() == weights.keys()
    assert [name for name in weights if not same_bits(loaded[name], weights[name])] == []


def test_tied_weights_are_there_under_each_name_and_said_to_be_one(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    path = converted(OrderedDict(model.state_dict()), tmp_path, job="j12")
    loaded = load_file(path)
    assert {name: same_bits(loaded[name], one) for name, one in model.state_dict().items()} == {
        "0.weight": True, "0.bias": True, "1.weight": True, "1.bias": True,
    }  # fmt: skip
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata[TIED]) == [["0.weight", "1.weight"]]
    assert (metadata["format"], metadata["job"]) == ("pt", "j12")
    assert STRUCTURE not in metadata


def test_all_that_a_training_goes_on_from_is_put_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = {"kind": "patience", "patience": 5}
    spec = make_spec(optimizer={"kind": "adam", "lr": 0.01}, early_stopping=stopping)
    events = run(spec, tmp_path / "training")
    saved = torch.load(last_of(events).path, weights_only=True)
    assert_equal(rebuilt(converted(saved, tmp_path), monkeypatch), saved)


def test_plain_values_are_put_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {
        1: [0.1, float("inf"), (True, None, "text", 2**70)],
        "1 of": {"deep": {"shared": torch.ones(2)}},
        "empty": [{}, (), []],
    }
    assert_equal(rebuilt(converted(value, tmp_path), monkeypatch), value)


def assert_equal(left: Any, right: Any) -> None:
    if isinstance(right, Tensor):
        assert same_bits(left, right)
    elif isinstance(right, dict):
        assert left.keys() == right.keys()
        for key, part in right.items():
            assert_equal(left[key], part)
    elif isinstance(right, list | tuple):
        assert isinstance(left, list | tuple)
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    else:
        assert left == right or left != left, (left, right)


class Attack:
    """What a pickle may do to whoever loads it."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("attacked",)


def test_what_cannot_be_converted_is_said_and_the_next_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "target"
    for name, value in {"attack": Attack(), "complex": 1j, "good": {"a": torch.ones(2)}}.items():
        torch.save(value, tmp_path / name)
    (tmp_path / "damaged").write_bytes((tmp_path / "good").read_bytes()[:-100])
    with Converter() as converter:
        for name, reason in {
            "attack": "more than tensors and plain values",
            "complex": "it is a complex, which cannot be written",
            "damaged": "failed finding central directory",
            "missing": "No such file",
        }.items():
            with pytest.raises(ConversionFailed, match=reason):
                converter.convert(tmp_path / name, target, {})
            assert not target.exists()
        converter.convert(tmp_path / "good", target, {})
    assert load_file(target)["a"].tolist() == [1, 1]
    assert not (tmp_path / "attacked").exists()


def test_a_converter_that_dies_is_started_again(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "good")
    with Converter() as converter:
        converter.convert(tmp_path / "good", tmp_path / "target", {})
        assert converter._process is not None
        converter._process.kill()
        converter._process.wait()
        with pytest.raises(ConversionFailed, match="killed by signal 9"):
            converter.convert(tmp_path / "good", tmp_path / "target", {})
        converter.convert(tmp_path / "good", tmp_path / "target", {})
