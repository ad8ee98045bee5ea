"""Outputs of evaluations: each number against numpy over the model's own activations, each array's shape."""

from pathlib import Path

import numpy
import pytest
import torch
from scipy import stats

from tests.support.trainings import finished, load_data, make_spec, outcome, run
from trainer.data.loading import apply_shift
from trainer.evaluation.activations import PERCENTILES
from trainer.events import CheckpointSaved, EvaluationFinished
from trainer.random_streams import generator, seed_globals
from trainer.spec.dataset import Shift
from trainer.training.checkpoint import restore_model

MLP = {"model": {"name": "mlp", "hidden": [12, 8]}}
DROPOUT = {"regularization": [{"kind": "dropout", "p": 0.4}]}
MOONS = {"dataset": {"name": "moons", "train_size": 100}, "model": {"name": "mlp", "hidden": [8]}}
POLYNOMIAL = {
    "dataset": {"name": "polynomial_noise", "train_size": 50},
    "task": {"kind": "regression"},
    "model": {"name": "polynomial", "degree": 3},
    "norm": {"kind": "none"},
}


def evaluated(tmp_path: Path, evaluations, **changes):
    """The spec, its events, and by name the arrays of every output."""
    spec = make_spec(evaluations=evaluations, **changes)
    events = run(spec, tmp_path / "attempt-1")
    arrays = {}
    for one in events:
        for file in one.files if isinstance(one, EvaluationFinished) else ():
            with numpy.load(file.path, allow_pickle=False) as content:
                arrays[file.name.removesuffix(".npz")] = dict(content)
    return spec, events, arrays


def best_model(spec, events):
    saved = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "best"][-1]
    return restore_model(spec, load_data(spec).info, Path(saved.path)).eval()


def standardized(spec, pixels):
    info = load_data(spec).info
    mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in (info.mean, info.std))
    return (pixels - mean) / std


def by_hand(spec, events, pixels):
    """Input and output of each norm, and the input of the last linear layer, of an MLP."""
    x = standardized(spec, pixels).flatten(1)
    model, before, after = best_model(spec, events), [], []
    with torch.no_grad():
        for number in (1, 2):
            before.append(getattr(model, f"linear{number}")(x))
            after.append(getattr(model, f"norm{number}")(before[-1]))
            x = after[-1].relu()
    return model, before, after, x.double().numpy()


def some(spec):
    """The test examples that are looked at."""
    test = load_data(spec).test
    assert len(test.labels) < 512
    return test.images.float() / 255


def test_activations_are_those_of_the_model_on_the_split(tmp_path):
    spec, events, arrays = evaluated(tmp_path, [{"outputs": ["activations"]}], **MLP)
    model, before, after, hidden = by_hand(spec, events, some(spec))
    kept, metrics = arrays["test_activations"], finished(events).metrics
    assert kept["layers"].tolist() == ["norm1", "norm2"]
    for name, values in (("before", before), ("after", after)):
        expected = [numpy.percentile(one.double().numpy(), PERCENTILES) for one in values]
        assert kept[name] == pytest.approx(numpy.stack(expected), rel=1e-4, abs=1e-5)
    assert kept["counts"].sum() == hidden.size
    assert metrics["test_mean_activation"] == pytest.approx(hidden.mean(), rel=1e-5)
    active = (hidden > 0.01 * hidden.max()).mean()
    assert metrics["test_active_fraction"] == pytest.approx(active, abs=1e-3)
    l1, l2 = numpy.abs(hidden).sum(1), numpy.sqrt(numpy.square(hidden).sum(1))
    hoyer = (numpy.sqrt(8) - l1 / l2) / (numpy.sqrt(8) - 1)
    assert metrics["test_hoyer"] == pytest.approx(hoyer.mean(), rel=1e-4)
    ratios = [
        one.double().var(0, correction=0) / getattr(model, f"norm{number}").running_var.double()
        for number, one in enumerate(before, start=1)
    ]
    expected = float(torch.cat(ratios).log().mean().exp())
    assert metrics["test_variance_ratio"] == pytest.approx(expected, rel=1e-5)
    assert "test_activation_shift" not in metrics


def test_a_shift_moves_percentiles_by_so_much(tmp_path):
    shift = {"brightness": 0.2, "contrast": 0.5, "noise": 0.1}
    evaluations = [{"shift": shift, "outputs": ["activations"]}]
    spec, events, arrays = evaluated(tmp_path, evaluations, **MLP)
    pixels = some(spec)
    moved = apply_shift(pixels, Shift(**shift), generator("shift", 0, 0))
    still = by_hand(spec, events, pixels)[2][-1].double().numpy()
    after = by_hand(spec, events, moved)[2][-1].double().numpy()
    one, other = (numpy.percentile(values, PERCENTILES) for values in (after, still))
    width = other[PERCENTILES.index(85)] - other[PERCENTILES.index(15)]
    expected = numpy.abs(one - other).mean() / width
    metrics = finished(events).metrics
    assert metrics["shifted_test_activation_shift"] == pytest.approx(expected, rel=1e-4)
    assert arrays["shifted_test_activations"]["after"][-1] == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_norms_without_running_statistics_have_no_variance_ratio(tmp_path):
    _, events, _ = evaluated(
        tmp_path, [{"outputs": ["activations"]}], norm={"kind": "layer"}, **MLP
    )
    metrics = finished(events).metrics
    assert "test_hoyer" in metrics
    assert "test_variance_ratio" not in metrics


def test_dropout_before_batch_norm_shifts_the_variance(tmp_path):
    """Li et al. 2019: what is dropped has a larger variance in training than in evaluation."""
    p = {"regularization": [{"kind": "dropout", "p": 0.5}]}
    ratios = []
    for number, options in enumerate(({}, p)):
        _, events, _ = evaluated(
            tmp_path / str(number), [{"outputs": ["activations"]}], **MLP, **options,
            training={"epochs": 12, "batch_size": 20},
        )  # fmt: skip
        ratios.append(finished(events).metrics["test_variance_ratio"])
    plain, dropped = ratios
    assert dropped < plain - 0.1


def test_scalars_of_weights_and_filters_are_those_of_numpy(tmp_path):
    spec, events, arrays = evaluated(
        tmp_path,
        [{"outputs": ["weights", "filters"]}],
        **MLP,
        regularization=[{"kind": "l1", "value": 0.01, "proximal": True}],
    )
    model, metrics = best_model(spec, events), finished(events).metrics
    layers = [
        model.linear1.weight, model.linear2.weight, model.classifier.weight,
    ]  # fmt: skip
    flat = torch.cat([one.detach().flatten() for one in layers]).double().numpy()
    assert metrics["test_weight_norm"] == pytest.approx(numpy.linalg.norm(flat), rel=1e-6)
    assert metrics["test_near_zero"] == pytest.approx((numpy.abs(flat) < 0.01).mean())
    assert metrics["test_exact_zero"] == pytest.approx((flat == 0).mean())
    assert metrics["test_exact_zero"] > 0
    first = model.linear1.weight.detach().double().numpy()
    alive = first.std(1) > 0
    if alive.all():
        expected = stats.kurtosis(first, axis=1, fisher=False).mean()
        assert metrics["test_filter_kurtosis"] == pytest.approx(expected, rel=1e-6)
    assert set(arrays) == {"test_weights", "test_filters"}


def test_responses_are_maps_before_and_after_the_first_norm(tmp_path):
    spec, events, arrays = evaluated(
        tmp_path, [{"outputs": ["responses"]}], norm={"kind": "lrn", "alpha": 0.5}
    )
    kept = arrays["test_responses"]
    assert kept["images"].shape == (4, 1, 8, 8)
    assert kept["before"].shape == kept["after"].shape == (4, 4, 8, 8)
    model = best_model(spec, events)
    with torch.no_grad():
        expected = model.norm1(torch.tensor(kept["before"]))
    assert torch.allclose(torch.tensor(kept["after"]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "features", "outputs"), [(MOONS, 2, (10000, 2)), (POLYNOMIAL, 1, (200,))]
)
def test_a_grid_covers_the_training_data_and_a_tenth_more(tmp_path, options, features, outputs):
    spec, events, arrays = evaluated(tmp_path, [{"outputs": ["grid"]}], **options)
    kept, train = arrays["test_grid"], load_data(spec).train
    points = train.images.flatten(1).numpy()
    low, high = points.min(0), points.max(0)
    assert kept["x"].shape == (outputs[0], features)
    assert kept["x"].min(0) == pytest.approx(low - 0.1 * (high - low), abs=1e-5)
    assert kept["x"].max(0) == pytest.approx(high + 0.1 * (high - low), abs=1e-5)
    assert kept["predictions"].shape == outputs
    assert numpy.array_equal(kept["train_x"], points)
    assert numpy.array_equal(kept["train_y"], train.labels.numpy())
    with torch.no_grad():
        x = torch.tensor(kept["x"]).view(-1, features, 1, 1)
        found = best_model(spec, events)(standardized(spec, x))
    expected = found.softmax(1) if features == 2 else found.squeeze(1)
    assert kept["predictions"] == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_curve_of_masks_ends_where_monte_carlo_dropout_is(tmp_path):
    _, events, arrays = evaluated(
        tmp_path, [{"outputs": ["mc_curve"]}, {"mode": "mc_dropout"}], **MLP, **DROPOUT
    )
    kept, metrics = arrays["test_mc_curve"], finished(events).metrics
    assert kept["k"].tolist() == list(range(1, 51))
    assert kept["error"][-1] == pytest.approx(1 - metrics["mc_dropout_test_accuracy"])
    assert kept["error"].std() > 0


def test_augmented_examples_are_one_draw_of_the_first(tmp_path):
    augmentation = [{"kind": "rotate", "degrees": 30.0}, {"kind": "brightness"}]
    spec, _, arrays = evaluated(tmp_path, [{"outputs": ["augmented"]}], augmentation=augmentation)
    kept = arrays["test_augmented"]
    first = load_data(spec).train.images[:8].float() / 255
    assert numpy.array_equal(kept["original"], first.numpy())
    assert kept["augmented"].shape == (8, 1, 8, 8)
    assert not numpy.allclose(kept["original"], kept["augmented"])


@pytest.mark.parametrize(
    ("output", "options"),
    [("grid", {}), ("responses", MLP), ("augmented", {})],
)
def test_what_there_is_nothing_of_has_no_file(tmp_path, output, options):
    _, _, arrays = evaluated(tmp_path, [{"outputs": [output]}], **options)
    assert arrays == {}


def test_outputs_change_nothing_of_the_training_nor_of_each_other(tmp_path):
    options = {**MLP, **DROPOUT}
    every = ["mc_curve", "activations", "weights", "filters", "grid", "augmented", "predictions"]
    _, plain, _ = evaluated(tmp_path / "plain", [{}], **options)
    seed_globals("elsewhere", 1)
    _, looked, arrays = evaluated(tmp_path / "looked", [{"outputs": every}], **options)
    one, other = (outcome(events) for events in (plain, looked))
    assert {key: one[key] for key in one if key != "evaluations"}.keys() == other.keys() - {
        "evaluations"
    }
    few, more = finished(plain).metrics, finished(looked).metrics
    assert few.items() <= more.items()
    _, _, alone = evaluated(tmp_path / "alone", [{"outputs": ["weights"]}], **options)
    for key, value in alone["test_weights"].items():
        assert numpy.array_equal(value, arrays["test_weights"][key])


def test_a_training_without_weights_has_neither_files_nor_scalars(tmp_path):
    _, events, arrays = evaluated(
        tmp_path,
        [{"outputs": ["activations", "weights"]}],
        **MLP,
        norm={"kind": "none"},
        optimizer={"kind": "sgd", "lr": 1e30},
    )
    assert arrays == {}
    assert not [name for name in finished(events).metrics if "hoyer" in name]
