"""How a dataset is cut into train, validation and test. Knows labels and counts, no images.

A cut of classes is stratified: each keeps its share, and at least one example on either side. A cut of
values is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import numpy.typing
import torch

from trainer.errors import DataError
from trainer.spec import DatasetInfo, DatasetSpec
from trainer.streams import generator

Integers = numpy.typing.NDArray[numpy.int64]
Array = numpy.typing.NDArray[Any]

#: What is cut off as the test split where a set has none of its own.
TEST_FRACTION = 0.2

# Steps of the `split` stream: one for each use, so that a changed option moves nothing else.
_TEST, _VAL, _TRAIN, _TRAIN_NOISE, _VAL_NOISE = range(5)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Examples per split; `available` is the training part before `train_size` cuts it."""

    available: int
    train: int
    val: int
    test: int


def split_sizes(spec: DatasetSpec, info: DatasetInfo) -> Sizes:
    """What a cut gives, from counts alone; it may be impossible: see `trainer.check`."""
    own_test = info.test_size is not None
    test = portion(TEST_FRACTION, info.train_size) if info.test_size is None else info.test_size
    rest = info.train_size - (0 if own_test else test)
    val = portion(spec.val_fraction, rest)
    available = rest - val
    return Sizes(available, available if spec.train_size is None else spec.train_size, val, test)


def portion(fraction: float, count: int) -> int:
    """The share as a whole number, halves up."""
    return int(fraction * count + 0.5)


@dataclass(frozen=True, slots=True)
class Cut:
    """Row numbers, ascending: `train`, `val` and an untouched test of the set's own (None) or a cut one."""

    train: Integers
    val: Integers
    test: Integers | None


def cut(labels: Array, spec: DatasetSpec, info: DatasetInfo) -> Cut:
    """`labels` are classes, or values. Raises DataError when a split would lack a class, or `train_size`
    exceeds what there is."""
    sizes = split_sizes(spec, info)
    test, rest = None, numpy.arange(len(labels))
    if info.test_size is None:
        test, rest = _take(labels, rest, sizes.test, "test", spec.split_seed, info.classes)
    val, train = _take(labels, rest, sizes.val, "val", spec.split_seed, info.classes)
    if sizes.train > sizes.available:
        raise DataError(
            f"train_size cannot exceed the {sizes.available} examples of the training split "
            f"but got {sizes.train}"
        )
    if sizes.train < sizes.available:
        seed = spec.split_seed if spec.subset_seed is None else spec.subset_seed
        train, _ = _take(labels, train, sizes.train, "train", seed, info.classes)
    return Cut(train, val, test)


def _take(
    labels: Array, rows: Integers, total: int, part: str, seed: int, classes: Sequence[str]
) -> tuple[Integers, Integers]:
    """`total` of the rows, each class with its share, and the rows left; both ascending."""
    step, keep = {"test": (_TEST, 1), "val": (_VAL, 1), "train": (_TRAIN, 0)}[part]
    shuffled = rows[torch.randperm(len(rows), generator=generator("split", seed, step)).numpy()]
    taken = numpy.zeros(len(labels), dtype=bool)
    if not classes:
        if not 1 <= total <= len(rows) - keep:
            raise DataError(f"the {part} split needs 1 to {len(rows) - keep} examples, not {total}")
        taken[shuffled[:total]] = True
        return rows[taken[rows]], rows[~taken[rows]]
    counts = numpy.bincount(labels[rows], minlength=len(classes))
    _require_enough(counts, total, keep, part, classes)
    for label, count in enumerate(_allocate(counts, total, keep)):
        taken[shuffled[labels[shuffled] == label][:count]] = True
    return rows[taken[rows]], rows[~taken[rows]]


def _require_enough(
    counts: Integers, total: int, keep: int, part: str, classes: Sequence[str]
) -> None:
    if total < len(classes):
        raise DataError(
            f"the {part} split needs one example of each of the {len(classes)} classes "
            f"but would have {total}"
        )
    for name, count in zip(classes, counts, strict=True):
        if count < 1 + keep:
            raise DataError(
                f"class {name!r} has {count} examples where the {part} split is cut "
                f"but stratified splits need {1 + keep}"
            )
    if total > int(counts.sum()) - keep * len(classes):
        raise DataError(f"the {part} split of {total} leaves no example of some class for training")


def _allocate(counts: Integers, total: int, keep: int) -> Integers:
    """Largest remainder (Hamilton's method), each class between 1 and its count less `keep`."""
    quota = counts * (total / counts.sum())
    highest = counts - keep
    given: Integers = numpy.clip(numpy.floor(quota).astype(numpy.int64), 1, highest)
    while (missing := total - int(given.sum())) != 0:
        lack = quota - given
        if missing > 0:
            given[numpy.argmax(numpy.where(given < highest, lack, -numpy.inf))] += 1
        else:
            given[numpy.argmin(numpy.where(given > 1, lack, numpy.inf))] -= 1
    return given


def add_label_noise(
    labels: torch.Tensor, spec: DatasetSpec, classes: int, part: str
) -> torch.Tensor:
    """The share `label_noise` of the labels drawn anew, uniformly over all classes, the old one too."""
    step = {"train": _TRAIN_NOISE, "val": _VAL_NOISE}[part]
    chance = generator("split", spec.split_seed, step)
    chosen = torch.randperm(len(labels), generator=chance)[: portion(spec.label_noise, len(labels))]
    drawn = torch.randint(classes, (len(chosen),), generator=chance)
    return labels.index_copy(0, chosen, drawn)
