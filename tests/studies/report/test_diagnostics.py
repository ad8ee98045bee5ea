"""Kept weights are read from whole files alone, and added up without moving a weight to another bin."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store.db.models import File
from studies.report.diagnostics import read_filters, read_histograms, spread
from studies.report.panels.kept_arrays import MOST_BYTES
from tests.support.reports import make_job
from tests.support.result_rows import make_row

EDGES = np.arange(-50, 51) / 50


def keep(folder: Path, name: str, **arrays: Any) -> File:
    np.savez(folder / name, **arrays)
    content = (folder / name).read_bytes()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return File(name=name, path=name, digest=digest, bytes=len(content))


def weights(folder: Path, number: int, values: list[float], reach: float) -> File:
    counts, _ = np.histogram(values, reach * EDGES)
    return keep(
        folder,
        f"{number}_weights.npz",
        layers=np.array(["conv"]),
        edges=np.array([reach * EDGES]),
        counts=np.array([counts]),
        minimum=np.array([min(values)]),
        maximum=np.array([max(values)]),
    )


def make_jobs(count: int) -> list[Any]:
    return [make_job(make_row(number, "batch", number, 0.9)) for number in range(1, count + 1)]


def test_histograms_of_several_jobs_are_added_up(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    narrow, wide = draw.normal(0, 0.05, 1000).tolist(), draw.normal(0, 0.3, 1000).tolist()
    files = {1: [weights(tmp_path, 1, narrow, 0.25)], 2: [weights(tmp_path, 2, wide, 2.0)]}
    [found] = read_histograms("batch", make_jobs(3), files, tmp_path)
    assert (found.layer, found.jobs, found.reach) == ("conv", 2, 2.0)
    expected, _ = np.histogram(narrow + wide, 2.0 * EDGES)
    assert list(found.counts) == expected.tolist()
    assert found.minimum == min(narrow + wide)


def test_a_layer_without_finite_weights_is_left_out(tmp_path: Path) -> None:
    file = weights(tmp_path, 1, [float("nan")], 1.0)
    assert read_histograms("batch", make_jobs(1), {1: [file]}, tmp_path) == []


def test_filters_are_those_that_were_kept(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(40, 3, 5, 5)).astype(np.float32)
    file = keep(tmp_path, "test_filters.npz", layer=np.array("conv1"), filters=images, total=64)
    [job] = make_jobs(1)
    found = read_filters(job, [file], tmp_path)
    assert found is not None
    assert (found.layer, found.total, found.shape) == ("conv1", 64, (24, 3, 5, 5))
    assert np.array_equal(found.images(), images[:24])


@pytest.mark.parametrize("damage", ["missing", "changed", "pickle", "cut", "other", "large"])
def test_a_file_that_is_not_what_was_written_is_as_good_as_none(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "test_filters.npz"
    filters = np.zeros((2, 1, 3, 3))
    match damage:
        case "pickle":
            file = keep(
                tmp_path, path.name, layer="a", total=2, filters=np.array([{}], dtype=object)
            )
        case "other":
            file = keep(tmp_path, path.name, something=filters)
        case _:
            file = keep(tmp_path, path.name, layer="a", total=2, filters=filters)
    match damage:
        case "missing":
            path.unlink()
        case "changed":
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        case "cut":
            path.write_bytes(path.read_bytes()[:50])
            file.digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        case "large":
            file.bytes = MOST_BYTES + 1
    [job] = make_jobs(1)
    assert read_filters(job, [file], tmp_path) is None


def test_layers_are_chosen_evenly_over_the_depth() -> None:
    names = [str(number) for number in range(10)]
    assert spread(names, 3) == ["0", "4", "9"]
    assert spread(names[:2], 3) == ["0", "1"]
    assert spread([], 3) == []
