"""Frozen batch norm: by the statistics of the weights that a training begins with, which stay."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from tests.support.trainer_specs import DIGITS
from tests.support.trainings import last_of, load_data, make_spec, run_saving_often
from trainer.checks.run import check
from trainer.events import CheckpointSaved, Event, Started
from trainer.layers import FrozenBatchNorm
from trainer.models.build import build_model
from trainer.optimization.weight_averaging import _has_statistics
from trainer.spec import BatchNorm, JobSpec
from trainer.surgery.build_norm import build_norm, uses_batch_statistics
from trainer.training.loop import train

BEGUN: dict[str, Any] = {"init_from": {"job": 7, "checkpoint": "last"}}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
AFFINE = ("weight", "bias")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSaved:
    """Of a training with batch norm."""
    folder = tmp_path_factory.mktemp("source") / "attempt-1"
    return last_of(run_saving_often(make_spec(), folder))


def fine_tune(
    source: CheckpointSaved, folder: Path, frozen: str | None, **parts: Any
) -> list[Event]:
    norm = {"kind": "batch", **({"frozen": frozen} if frozen else {})}
    spec = make_spec(norm=norm, **BEGUN, **parts)
    return list(train(spec, load_data(spec), folder, initial=source))


def model_of(path: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True)["state"]["model"])


def changed(source: CheckpointSaved, events: list[Event]) -> set[str]:
    """The last parts of the names of what differs from the weights that it began with."""
    before, after = model_of(source.path), model_of(last_of(events).path)
    assert before.keys() == after.keys()
    norms = {name.rpartition(".")[0] for name in before if name.endswith("running_mean")}
    return {
        name.rpartition(".")[2]
        for name in before
        if name.rpartition(".")[0] in norms and not torch.equal(before[name], after[name])
    }


@pytest.mark.parametrize(
    ("frozen", "moves"),
    [(None, {*STATISTICS, *AFFINE}), ("statistics", {*AFFINE}), ("all", set())],
)
def test_what_is_frozen_stays_and_the_rest_is_trained(
    source: CheckpointSaved, tmp_path: Path, frozen: str | None, moves: set[str]
) -> None:
    decay = [{"kind": "weight_decay", "value": 0.01, "parameters": "all"}]
    events = fine_tune(source, tmp_path, frozen, regularization=decay)
    assert changed(source, events) == moves
    weights = {name: one for name, one in model_of(last_of(events).path).items() if one.ndim > 1}
    assert all(not torch.equal(one, model_of(source.path)[name]) for name, one in weights.items())


def test_all_frozen_has_no_parameters_of_norms(source: CheckpointSaved, tmp_path: Path) -> None:
    [started] = [one for one in fine_tune(source, tmp_path, "all") if isinstance(one, Started)]
    assert started.facts is not None
    assert started.facts["norm_parameters"] == 0
    assert started.facts["bias_parameters"] == 10


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchvision_s_frozen_batch_norm(memory_format: torch.memory_format) -> None:
    theirs = FrozenBatchNorm2d(6, eps=1e-5)
    ours = build_norm(BatchNorm(kind="batch", frozen="all"), 6, "N,C,H,W")
    assert isinstance(ours, FrozenBatchNorm)
    generator = torch.Generator().manual_seed(0)
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = torch.rand(6, generator=generator) + 0.5
        getattr(theirs, name).copy_(value)
        getattr(ours, name).copy_(value)
    x = torch.randn(5, 6, 4, 4, generator=generator).contiguous(memory_format=memory_format)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x))
    # What one image becomes doesn't depend on the others.
    torch.testing.assert_close(ours(x[:1]), ours(x)[:1])


@pytest.mark.parametrize("layout", ["N,C", "N,C,L", "N,C,H,W", "N,H,W,C", "N,L,C"])
@pytest.mark.parametrize("frozen", ["statistics", "all"])
def test_it_has_every_layout_that_batch_norm_has(layout: Any, frozen: Any) -> None:
    ours = build_norm(BatchNorm(kind="batch", frozen=frozen), 4, layout)
    plain = build_norm(BatchNorm(kind="batch"), 4, layout)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    shape = {"N,C": (3, 4), "N,C,L": (3, 4, 5), "N,L,C": (3, 5, 4), "N,C,H,W": (3, 4, 2, 2)}
    x = torch.randn(shape.get(layout, (3, 2, 2, 4)))
    torch.testing.assert_close(ours.train()(x), plain.eval()(x))


def test_without_weights_to_begin_from_there_is_nothing_to_freeze() -> None:
    [problem] = check(make_spec(norm={"kind": "batch", "frozen": "all"}), DIGITS).problems
    assert problem.pointer == "/norm/frozen"
    assert "means of 0 and variances of 1" in problem.detail


def test_batches_of_one_and_accumulated_steps_are_no_problem() -> None:
    norm = {"kind": "batch", "frozen": "statistics"}
    for training in (
        {"epochs": 1, "batch_size": 1},
        {"epochs": 1, "batch_size": 8, "accumulate": 4},
    ):
        report = check(make_spec(norm=norm, training=training, **BEGUN), DIGITS)
        assert not report.problems, report.problems
        assert not any("batch norm" in warning for warning in report.warnings)


def test_averages_of_weights_leave_the_statistics_as_they_are() -> None:
    spec = make_spec(norm={"kind": "batch", "frozen": "statistics"}, **BEGUN)
    assert not uses_batch_statistics(spec.norm)
    model = build_model(spec, DIGITS)
    assert any(isinstance(one, FrozenBatchNorm) for one in model.modules())
    assert not any(map(_has_statistics, model.modules()))


def test_it_is_not_synchronized() -> None:
    document = make_spec().model_dump(mode="json")
    document["norm"] = {"kind": "batch", "frozen": "all", "sync": True}
    with pytest.raises(ValueError, match="leave out sync"):
        JobSpec.model_validate(document)


def test_documents_from_before_it_was_there_have_the_hash_that_they_had() -> None:
    assert make_spec().model_dump(mode="json")["norm"].keys() == {
        "kind",
        "eps",
        "momentum",
        "placement",
    }
