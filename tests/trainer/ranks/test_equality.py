"""Several processes on parts of each batch learn what one learns on the whole batches."""

from typing import Any

import pytest
import torch
from ranks.rank_trainings import last_weights, start_ranks

from tests.support.trainings import (
    epochs,
    finished,
    last_of,
    make_spec,
    outcome,
    run,
)
from trainer.events import EvaluationFinished, Started, Stepped, StopRequest

pytestmark = pytest.mark.usefixtures("preload")

#: Four batches an epoch; the last has 9 examples, of which ranks get parts of different sizes.
UNEVEN = {"dataset": {"name": "digits", "train_size": 201}}
SYNC = {"kind": "batch", "sync": True}
#: Of float32; a whole training of 12 steps was seen to differ by 3e-7.
TOLERANCE = 2e-6


def on(devices: int, **options: Any) -> Any:
    return make_spec(**UNEVEN, resources={"devices": devices}, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"resources": {"devices": 2}, "norm": SYNC},
        {
            "resources": {"devices": 3},
            "norm": {"kind": "group", "groups": 2},
            "training": {"epochs": 2, "batch_size": 64, "accumulate": 2},
            "optimizer": {"kind": "adam", "lr": 0.01},
            "augmentation": [{"kind": "rotate", "degrees": 15.0}],
            "regularization": [
                {"kind": "mixup", "alpha": 0.2},
                {"kind": "l2", "value": 1e-3},
                {"kind": "label_smoothing", "value": 0.1},
                {"kind": "gradient_clipping", "value": 1.0},
                {"kind": "gradient_noise", "eta": 1e-4},
                {"kind": "ema", "decay": 0.9},
            ],
        },
        {
            "resources": {"devices": 2},
            "norm": SYNC,
            "training": {"epochs": 2, "batch_size": 64},
            "regularization": [{"kind": "sam", "rho": 0.05}],
        },
    ],
    ids=[
        "batch norm of the whole batch",
        "all that acts on gradients",
        "gradients from beside the weights",
    ],
)
def test_ranks_equal_one_process_with_the_whole_batch(options: dict[str, Any], tmp_path) -> None:
    spec = make_spec(**{**UNEVEN, **options})
    alone = run(spec, tmp_path / "alone" / "attempt-1")
    together = list(start_ranks(spec, tmp_path / "together" / "attempt-1"))
    for one, other in zip(epochs(alone), epochs(together), strict=True):
        assert other.metrics == pytest.approx(one.metrics, abs=TOLERANCE, rel=TOLERANCE)
    assert finished(together).metrics == pytest.approx(finished(alone).metrics, abs=TOLERANCE)
    weights = last_weights(together)
    for name, expected in last_weights(alone).items():
        assert weights[name].numpy() == pytest.approx(expected.numpy(), abs=TOLERANCE), name


def test_statistics_of_each_rank_are_those_of_ghost_batches(tmp_path) -> None:
    """Wu & He 2018: batch norm on several GPUs normalizes over the batch of each."""
    even = {"epochs": 2, "batch_size": 64, "drop_last": True}
    spec = make_spec(**UNEVEN, training=even, resources={"devices": 2})
    ghost = {"kind": "ghost_batch", "virtual_batch_size": 32}
    alone = run(make_spec(**UNEVEN, training=even, norm=ghost), tmp_path / "alone" / "attempt-1")
    together = list(start_ranks(spec, tmp_path / "together" / "attempt-1"))
    weights, is_running = last_weights(together), ("running_mean", "running_var", "tracked")
    for name, expected in last_weights(alone).items():
        if not name.endswith(is_running):
            assert weights[name].numpy() == pytest.approx(expected.numpy(), abs=TOLERANCE), name


def test_a_resumed_training_equals_one_that_was_never_interrupted(tmp_path) -> None:
    """Also where each rank drops by itself, and where running statistics act on the training."""
    spec = on(2, norm={"kind": "batch_renorm"}, regularization=[{"kind": "dropout", "p": 0.2}])
    whole = list(start_ranks(spec, tmp_path / "whole" / "attempt-1"))
    first, second = tmp_path / "parts" / "attempt-1", tmp_path / "parts" / "attempt-2"
    training, before = start_ranks(spec, first), []
    for event in training:
        before.append(event)
        if event == Stepped(6):
            before += [training.send(StopRequest.SAVE_AND_STOP), *training]
    resumed = list(start_ranks(spec, second, [last_of(before)]))
    assert [one.first_step for one in resumed if isinstance(one, Started)] == [6]
    for part in ("finished", "weights", "evaluations"):
        assert outcome(resumed)[part] == outcome(whole)[part]
    assert len([one for one in whole if isinstance(one, EvaluationFinished)]) == 1


def test_every_rank_begins_with_the_weights_of_another_training(tmp_path) -> None:
    saved = last_of(run(make_spec(**UNEVEN, norm=SYNC), tmp_path / "source" / "attempt-1"))
    still = {
        "optimizer": {"kind": "sgd", "lr": 1e-30, "momentum": 0.0},
        "training": {"steps": 1, "eval_every": 1},
        "init_from": {"job": 1, "checkpoint": "last"},
    }
    spec = on(2, norm=SYNC, seed=5, **still)
    together = list(start_ranks(spec, tmp_path / "together" / "attempt-1", initial=saved))
    weights = last_weights(together)
    given = torch.load(saved.path, weights_only=True)["state"]["model"]
    is_running = ("running_mean", "running_var", "tracked")
    names = [name for name in given if not name.endswith(is_running)]
    assert len(names) == 11
    assert all(torch.equal(weights[name], given[name]) for name in names)
