"""Evaluations: losses and accuracies against their definitions, dropout masks, shifts, files."""

from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

from tests.support.trainings import epochs, finished, load_data, make_spec, run
from trainer.data.batches import Examples
from trainer.data.loading import apply_shift
from trainer.evaluation.weight_arrays import (
    KEPT_FILTERS,
    first_filters,
    serialize,
    weight_histograms,
)
from trainer.events import CheckpointSaved, EvaluationFinished, Progressed
from trainer.spec.dataset import Shift
from trainer.training.checkpoint import restore_model


@pytest.mark.parametrize(("shape", "size"), [((1, 8, 8), 1024), ((3, 224, 224), 27)])
def test_evaluation_batches_are_large_and_fixed_by_the_shape_of_the_images(shape, size):
    examples = Examples(
        torch.zeros(2 * size + 1, *shape, dtype=torch.uint8), torch.zeros(2 * size + 1)
    )
    assert [len(labels) for _, labels in examples.batches()] == [size, size, 1]


def evaluate(tmp_path: Path, evaluations: list[dict[str, object]], **changes: object):
    spec = make_spec(evaluations=evaluations, **changes)
    events = run(spec, tmp_path / "attempt-1")
    return spec, {one.name: one for one in events if isinstance(one, EvaluationFinished)}, events


def predictions(finished_evaluation: EvaluationFinished) -> dict[str, numpy.ndarray]:
    (file,) = finished_evaluation.files
    with numpy.load(file.path, allow_pickle=False) as arrays:
        return dict(arrays)


DROPOUT = {"regularization": [{"kind": "dropout", "p": 0.3}]}


def test_the_final_validation_by_the_best_weights_repeats_the_best_epoch(tmp_path):
    _, _, events = evaluate(tmp_path, [{"split": "val"}])
    metrics = finished(events).metrics
    assert metrics["final_val_loss"] == metrics["best_val_loss"]
    assert metrics["final_val_accuracy"] == metrics["best_val_accuracy"]


def test_the_last_weights_are_those_of_the_last_epoch(tmp_path):
    _, _, events = evaluate(
        tmp_path, [{"split": "val", "weights": "last"}], optimizer={"kind": "sgd", "lr": 0.5}
    )
    assert finished(events).metrics["last_final_val_loss"] == epochs(events)[-1].metrics["val_loss"]


def test_each_evaluation_is_done_once_and_its_scalars_are_in_the_end(tmp_path):
    _, found, events = evaluate(
        tmp_path, [{}, {"split": "train"}, {"name": "mine", "weights": "last"}]
    )
    assert list(found) == ["test", "final_train", "mine"]
    scalars = {name: value for one in found.values() for name, value in one.metrics.items()}
    assert scalars.keys() == {f"{p}_{m}" for p in found for m in ("loss", "accuracy")}
    assert scalars.items() <= finished(events).metrics.items()
    assert Progressed("mine") in events


def test_predictions_are_kept_as_arrays_that_need_no_pickle(tmp_path):
    spec, found, _ = evaluate(tmp_path, [{"outputs": ["predictions"]}])
    kept, test = predictions(found["test"]), load_data(spec).test
    assert numpy.array_equal(kept["labels"], test.labels)
    assert kept["probabilities"].shape == (len(test.labels), 10)
    assert kept["probabilities"].sum(1) == pytest.approx(1, abs=1e-5)
    hits = (kept["predictions"] == kept["labels"]).mean()
    assert hits == pytest.approx(found["test"].metrics["test_accuracy"])
    (file,) = found["test"].files
    assert file.name == "test_predictions.npz"
    assert Path(file.path) == tmp_path / "attempt-1" / "files" / file.name
    assert file.bytes == Path(file.path).stat().st_size


def test_dropout_is_off_in_evaluation_and_on_in_monte_carlo_passes(tmp_path):
    _, found, _ = evaluate(
        tmp_path,
        [{"outputs": ["predictions"]}, {"mode": "mc_dropout", "outputs": ["predictions"]}],
        **DROPOUT,
    )
    plain, averaged = (predictions(one)["probabilities"] for one in found.values())
    assert averaged.sum(1) == pytest.approx(1, abs=1e-5)
    # Means of 50 passes are near the network with scaled weights, but not equal to it.
    assert 0 < abs(plain - averaged).max() < 0.3


def test_monte_carlo_passes_leave_norms_in_eval_mode(tmp_path):
    # Without dropout every pass is the same; norms in train mode would use the batch's statistics.
    _, found, _ = evaluate(tmp_path, [{}, {"mode": "mc_dropout"}])
    plain, averaged = (one.metrics for one in found.values())
    assert averaged["mc_dropout_test_loss"] == pytest.approx(plain["test_loss"], rel=1e-6)


SHIFT = {"brightness": 0.3, "contrast": 0.5, "noise": 0.1}


def test_a_shift_of_the_dataset_meets_the_test_split_alone(tmp_path):
    splits = [{"split": "train"}, {"split": "val"}, {}]
    _, plain, _ = evaluate(tmp_path / "plain", splits)
    _, shifted, _ = evaluate(
        tmp_path / "shifted",
        splits,
        dataset={"name": "digits", "train_size": 200, "shift": SHIFT},
    )
    for name in ("final_train", "final_val"):
        assert plain[name].metrics == shifted[name].metrics
    assert plain["test"].metrics["test_loss"] != shifted["test"].metrics["test_loss"]


def test_an_evaluation_may_have_a_shift_of_its_own(tmp_path):
    own = {"brightness": -0.5}
    dataset = {"name": "digits", "train_size": 200, "shift": SHIFT}
    _, found, _ = evaluate(
        tmp_path, [{}, {"shift": own}, {"name": "same", "shift": SHIFT}], dataset=dataset
    )
    assert found["same"].metrics["same_loss"] == found["test"].metrics["test_loss"]
    assert found["shifted_test"].metrics["shifted_test_loss"] != found["test"].metrics["test_loss"]


def test_the_noise_of_a_shift_is_the_same_for_every_variant():
    images = torch.rand(4, 1, 8, 8)
    shift = Shift(noise=0.1)
    from trainer.random_streams import generator

    first, second = (apply_shift(images, shift, generator("shift", 0, 0)) for _ in range(2))
    assert torch.equal(first, second)


def kept_arrays(found: EvaluationFinished) -> dict[str, dict[str, numpy.ndarray]]:
    """By output: the arrays of its file."""
    kept = {}
    for file in found.files:
        with numpy.load(file.path, allow_pickle=False) as arrays:
            kept[file.name.removeprefix(f"{found.name}_").removesuffix(".npz")] = dict(arrays)
    return kept


@pytest.mark.parametrize("changes", [{}, {"weights": {"kind": "standardization"}}, DROPOUT])
def test_filters_and_weights_are_those_that_were_evaluated(tmp_path, changes):
    spec, found, events = evaluate(
        tmp_path,
        [{"outputs": ["filters", "weights"]}],
        optimizer={"kind": "sgd", "lr": 0.3},
        **changes,
    )
    kept = kept_arrays(found["test"])
    assert list(kept) == ["filters", "weights"]
    best = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "best"][-1]
    model = restore_model(spec, load_data(spec).info, Path(best.path))
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    first = next(iter(layers))
    assert str(kept["filters"]["layer"]) == first
    assert numpy.array_equal(kept["filters"]["filters"], layers[first].weight.detach())
    assert kept["weights"]["layers"].tolist() == list(layers)
    for number, layer in enumerate(layers.values()):
        weight = layer.weight.detach().double().numpy()
        edges, counts = (kept["weights"][name][number] for name in ("edges", "counts"))
        assert (len(edges), len(counts)) == (101, 100)
        assert numpy.array_equal(counts, numpy.histogram(weight, bins=edges)[0])
        assert counts.sum() == weight.size
        assert kept["weights"]["minimum"][number] == weight.min()
        assert kept["weights"]["maximum"][number] == weight.max()


def test_weights_are_kept_whole_after_passes_that_dropped_them(tmp_path):
    outputs = {"outputs": ["weights", "filters"]}
    _, found, _ = evaluate(
        tmp_path,
        [outputs, {"mode": "mc_dropout", **outputs}],
        regularization=[{"kind": "drop_connect", "p": 0.5}],
    )
    plain, dropped = (kept_arrays(one) for one in found.values())
    assert numpy.array_equal(plain["filters"]["filters"], dropped["filters"]["filters"])
    assert numpy.array_equal(plain["weights"]["counts"], dropped["weights"]["counts"])


def test_rows_of_a_linear_layer_are_images_where_they_fit():
    fits, other = nn.Sequential(nn.Linear(12, 5)), nn.Sequential(nn.Linear(7, 5))
    rows = first_filters(fits, (3, 2, 2))["filters"]
    assert numpy.array_equal(rows, fits[0].weight.detach().view(5, 3, 2, 2))
    assert first_filters(other, (3, 2, 2))["filters"].shape == (5, 7, 1, 1)
    many = first_filters(nn.Sequential(nn.Conv2d(3, 200, 3)), (3, 8, 8))
    assert (len(many["filters"]), int(many["total"])) == (KEPT_FILTERS, 200)
    wide = first_filters(nn.Sequential(nn.Linear(3 * 512 * 512, 3)), (3, 512, 512))
    assert len(wide["filters"]) == 1
    assert first_filters(nn.Sequential(nn.ReLU()), (1, 2, 2)) == {}
    assert weight_histograms(nn.Sequential(nn.ReLU())) == {}


def test_histograms_of_different_trainings_have_edges_in_common():
    narrow, wide = nn.Linear(4, 4), nn.Linear(4, 4)
    with torch.no_grad():
        narrow.weight.uniform_(-0.2, 0.2)[0, 0] = 0.25
        wide.weight.uniform_(-0.9, 0.9)[0, 0] = torch.inf
        wide.weight[0, 1] = 0.9
    found = weight_histograms(nn.Sequential(narrow, wide))
    assert [edges[-1] for edges in found["edges"]] == [0.25, 1.0]
    assert found["counts"].sum(1).tolist() == [16, 15]
    assert set(found["edges"][1][38:63]) <= set(found["edges"][0])
    assert found["maximum"][1] == pytest.approx(0.9)


def test_a_layer_without_a_finite_weight_has_an_empty_histogram():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.fill_(torch.nan)
    found = weight_histograms(nn.Sequential(layer))
    assert found["counts"].sum() == 0
    assert numpy.isnan(found["minimum"]).all()
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    assert weight_histograms(nn.Sequential(layer))["counts"].sum() == 4


def test_equal_arrays_are_equal_files():
    arrays = {"a": numpy.arange(3), "names": numpy.array(["x", "y"])}
    assert serialize(arrays) == serialize(arrays)
