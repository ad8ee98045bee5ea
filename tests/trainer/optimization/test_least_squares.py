"""The step of least squares against numpy's, over whole trainings."""

import numpy
import pytest
import torch

from tests.support.trainings import finished, load_data, make_spec, run


def fitted(degree: int, subset: int = 0, size: int = 30):
    return make_spec(
        dataset={"name": "polynomial_noise", "train_size": size, "subset_seed": subset},
        task={"kind": "regression"},
        model={"name": "polynomial", "degree": degree},
        norm={"kind": "none"},
        optimizer={"kind": "least_squares"},
        training={"epochs": 1, "batch_size": size},
        evaluations=[{"split": "train"}, {"split": "test"}],
    )


def expected(spec, part):
    """Mean squared error of numpy's solution in float64, on a split."""
    data = load_data(spec)
    mean, std = data.info.mean[0], data.info.std[0]

    def design(split):
        x = (split.images.double().flatten().numpy() - mean) / std
        return numpy.stack([x**power for power in range(spec.model.degree + 1)], 1)

    def values(split):
        return split.labels.double().numpy()

    solution = numpy.linalg.lstsq(design(data.train), values(data.train), rcond=None)[0]
    split = getattr(data, part)
    return float(numpy.square(design(split) @ solution - values(split)).mean())


@pytest.mark.parametrize(("degree", "tolerance"), [(1, 1e-5), (4, 1e-5), (15, 1e-2)])
@pytest.mark.parametrize("subset", [0, 1, 2])
def test_one_step_reaches_the_solution_of_numpy(tmp_path, degree, tolerance, subset):
    spec = fitted(degree, subset)
    metrics = finished(run(spec, tmp_path)).metrics
    assert metrics["steps"] == 1
    assert metrics["final_train_loss"] == pytest.approx(expected(spec, "train"), rel=tolerance)
    assert metrics["test_loss"] == pytest.approx(expected(spec, "test"), rel=5 * tolerance)


def test_gradient_descent_does_not_get_there(tmp_path):
    exact = fitted(15)
    descended = exact.model_copy(
        update={
            "optimizer": make_spec(optimizer={"kind": "sgd", "lr": 1e-7}).optimizer,
            "training": make_spec(training={"epochs": 200, "batch_size": 30}).training,
        }
    )
    least = finished(run(exact, tmp_path / "exact")).metrics["final_train_loss"]
    assert finished(run(descended, tmp_path / "descent")).metrics["final_train_loss"] > 2 * least


def test_fewer_examples_than_coefficients_get_the_smallest_ones(tmp_path):
    spec = fitted(15, size=8)
    metrics = finished(run(spec, tmp_path)).metrics
    assert metrics["final_train_loss"] == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(torch.tensor(metrics["test_loss"]))
