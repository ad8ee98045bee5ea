"""Datasets drawn from formulas: seeded, the same everywhere, no download.

Features are rounded to four decimals, so that a digest does not depend on the last bits of a machine's
mathematics.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy
import numpy.typing

from trainer.spec import Generated

_DECIMALS = 4

#: The noise where the source says none.
_NOISE: Mapping[str, float] = {
    "polynomial_noise": 0.1,
    "moons": 0.2,
    "circles": 0.1,
    "blobs": 1.0,
    "mnist1d": 0.02,
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Features float32 N, F and targets (int64 or float32 N) by split; no classes: targets are values."""

    classes: tuple[str, ...]
    parts: Mapping[str, tuple[numpy.typing.NDArray[Any], numpy.typing.NDArray[Any]]]


def draw(source: Generated) -> Drawn:
    """All examples of the source; `mnist1d` has a test split of its own."""
    noise = _NOISE[source.generator] if source.noise is None else source.noise
    match source.generator:
        case "polynomial_noise":
            x, y = _draw_cosine(source.size, noise, source.seed)
            return Drawn((), {"train": (_rounded(x), _rounded(y))})
        case "moons" | "circles" | "blobs":
            x, y = _draw_points(source.generator, source.size, noise, source.seed)
            classes = tuple(str(number) for number in range(int(y.max()) + 1))
            return Drawn(classes, {"train": (_rounded(x), y.astype(numpy.int64))})
        case "mnist1d":
            return _draw_mnist1d(source.size, noise, source.seed)
        case _:
            assert_never(source.generator)


def _draw_cosine(size: int, noise: float, seed: int) -> tuple[Any, Any]:
    """The example of scikit-learn's gallery on under- and overfitting: y = cos(1.5πx) + noise."""
    source = numpy.random.default_rng(seed)
    x = source.uniform(0, 1, (size, 1))
    return x, numpy.cos(1.5 * numpy.pi * x[:, 0]) + noise * source.standard_normal(size)


def _draw_points(
    kind: Literal["moons", "circles", "blobs"], size: int, noise: float, seed: int
) -> tuple[Any, Any]:
    # scikit-learn takes a second to import.
    from sklearn import datasets

    match kind:
        case "moons":
            return datasets.make_moons(size, noise=noise, random_state=seed)  # type: ignore[no-any-return]
        case "circles":
            return datasets.make_circles(size, noise=noise, factor=0.5, random_state=seed)  # type: ignore[no-any-return]
        case "blobs":
            return datasets.make_blobs(size, cluster_std=noise, random_state=seed)  # type: ignore[no-any-return]


def _draw_mnist1d(size: int, noise: float, seed: int) -> Drawn:
    """Greydanus 2020 (arXiv 2011.14439), by its own package; a fifth is the test split."""
    import mnist1d

    options = {**mnist1d.get_dataset_args(as_dict=True), "num_samples": size, "seed": seed}
    options["iid_noise_scale"] = noise
    with _global_generators_kept():
        made = mnist1d.data.make_dataset(mnist1d.ObjectView(options))
    parts = {
        part: (_rounded(made[f"x{suffix}"]), made[f"y{suffix}"].astype(numpy.int64))
        for part, suffix in (("train", ""), ("test", "_test"))
    }
    return Drawn(tuple(str(digit) for digit in range(10)), parts)


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """The package seeds Python's and NumPy's global generators."""
    python, array = random.getstate(), numpy.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(array)


def _rounded(values: Any) -> numpy.typing.NDArray[numpy.float32]:
    # Adding zero makes the negative zero a positive one, which has other bytes.
    rounded: numpy.typing.NDArray[numpy.float32] = numpy.round(values, _DECIMALS).astype("float32")
    return rounded + numpy.float32(0)
