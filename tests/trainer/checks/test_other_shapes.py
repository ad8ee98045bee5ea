"""Traps that no bad spec of a known model shows: lines of positions, words of the spec, what surgery tells."""

from typing import Any

import pytest
from pydantic import ValidationError, field_validator
from torch import Tensor, nn

from tests.support.spec_checks import forget_networks
from tests.support.trainer_specs import DIGITS, NORMS, make_info, make_spec
from trainer.checks import context as context_module
from trainer.checks import run as module
from trainer.checks.norms import check_norm_fits_sites
from trainer.checks.run import check
from trainer.spec.layouts import find_gap
from trainer.spec.norm import LocalResponseNorm
from trainer.surgery import notes

SMALL = make_info(name="colour", shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


class Lines(nn.Module):
    """Takes the rows of a digit for channels: the norms see N, C, L."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv1d(8, 8, 3), nn.BatchNorm1d(8), nn.ReLU()) for _ in range(depth))
        )
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(x.flatten(1, 2)).mean(2))


#: No model of ours or of the libraries has lines, so two stand in for them.
ON_LINES = [
    (norm, find_gap(make_spec("cnn", norm).norm, "N,C,L"), d) for norm in NORMS for d in (1, 2)
]


@pytest.mark.parametrize(("norm", "gap", "depth"), ON_LINES)
def test_a_norm_is_refused_on_lines_where_the_table_has_no_cell_and_by_this_check_alone(
    monkeypatch, norm, gap, depth
):
    monkeypatch.setattr(context_module, "build_bare_model", lambda spec, info: Lines(depth))
    monkeypatch.setattr(module, "_dry_run", lambda context: (0, 0, (), []))
    spec = make_spec("cnn", norm)
    found = check(spec, DIGITS).problems
    if gap is None:
        assert found == ()
        return
    layers = [f"blocks.{n}.1" for n in range(depth)]
    assert [(p.pointer, p.layer, p.remedy) for p in found] == [
        ("/norm/kind", layer, gap.remedy) for layer in layers
    ]
    assert all(gap.reason in problem.detail for problem in found)
    kept = tuple(one for one in module.CHECKS if one is not check_norm_fits_sites)
    monkeypatch.setattr(module, "CHECKS", kept)
    assert check(spec, DIGITS).problems == ()


def test_the_table_has_empty_cells_on_lines():
    assert {norm for norm, gap, _ in ON_LINES if gap is not None} == {
        "lrn-space",
        "evonorm-B0",
        "evonorm-S0",
    }


class AnyWindow(LocalResponseNorm):
    @field_validator("n")
    @classmethod
    def _odd(cls, value: int) -> int:
        return value


@pytest.mark.parametrize("across", ["channels", "space"])
def test_a_window_without_a_middle_is_refused_by_this_rule_alone(across):
    document = {"kind": "lrn", "n": 4, "across": across}
    with pytest.raises(ValidationError, match=r"n must be odd, .* but got 4") as error:
        make_spec("cnn", document)
    assert error.value.errors()[0]["loc"] == ("norm", "lrn", "n")
    assert AnyWindow.model_validate(document).n == 4


@pytest.mark.parametrize("kind", ["sync_batch", "frozen_batch", "switchable"])
def test_a_norm_that_means_nothing_on_one_device_or_from_a_random_start_is_not_offered(kind):
    with pytest.raises(ValidationError, match=f"'{kind}'.*'batch', 'layer'") as error:
        make_spec("cnn", {"kind": kind})
    assert error.value.errors()[0]["loc"] == ("norm",)


@pytest.mark.parametrize(
    ("model", "norm", "words"),
    [
        (
            "torchvision:mobilenet_v3_small",
            {"kind": "layer"},
            "BatchNorm2d has eps 0.001, the spec's",
        ),
        (
            "timm:convnext_atto",
            {"kind": "layer", "axes": "channels"},
            "has eps 1e-06, the spec's norm",
        ),
        ("torchvision:mobilenet_v3_small", {"kind": "batch"}, "own momentum is 0.01, the spec's"),
        ("cnn", {"kind": "batch_renorm"}, "own momentum is 0.1, the spec's norm has 0.01"),
    ],
)
def test_a_default_that_differs_between_libraries_is_told_by_this_note_alone(
    monkeypatch: Any, model, norm, words
):
    spec = make_spec(model, norm)
    assert any(words in note for note in check(spec, SMALL).notes)
    monkeypatch.setattr(notes, "_describe_options", lambda norm, sites, modules: iter(()))
    forget_networks()
    assert not any(words in note for note in check(spec, SMALL).notes)
