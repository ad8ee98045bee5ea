"""How a dataset is cut into train, validation and test. Works on labels and counts; no image is read.

A cut of classes is stratified: each keeps its share, and at least one example on either side. A cut of
values is not.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing
import torch

from trainer.errors import CutError
from trainer.random_streams import generator
from trainer.spec import DatasetInfo, DatasetSpec

Integers = numpy.typing.NDArray[numpy.int64]
Array = numpy.typing.NDArray[Any]
Part: TypeAlias = Literal["train", "val", "test"]

#: What is cut off as the test split where a set has none of its own.
TEST_FRACTION = 0.2
#: Classes that a message lists by name.
MOST_NAMED = 5

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
    """What a cut gives, from counts alone; it may be impossible: see `trainer.checks`."""
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
class Shares:
    """Examples of each class in every split, in the order of the classes; of values: of all, as one class.
    `test` is None where the set has its own."""

    train: Integers
    val: Integers
    test: Integers | None


def share_out(counts: Integers, spec: DatasetSpec, info: DatasetInfo) -> Shares:
    """How `cut` divides a set with so many examples of each class outside its own test split.

    Raises CutError when a split would lack a class, or `train_size` exceeds what there is: a cut can
    fail in no other way.
    """
    sizes = split_sizes(spec, info)
    _require_enough_of_each_class(counts, info)
    test, rest = None, counts
    if info.test_size is None:
        test = _allocate(rest, sizes.test, "test", "/dataset/name")
        rest = rest - test
    val = _allocate(rest, sizes.val, "val", "/dataset/val_fraction")
    rest = rest - val
    if sizes.train > sizes.available:
        raise CutError(
            f"train_size cannot exceed the {sizes.available} examples of the training split "
            f"but got {sizes.train}",
            f"train_size of at most {sizes.available}, or a smaller val_fraction",
            "/dataset/train_size",
        )
    if sizes.train < sizes.available:
        rest = _allocate(rest, sizes.train, "train", "/dataset/train_size")
    return Shares(rest, val, test)


def _require_enough_of_each_class(counts: Integers, info: DatasetInfo) -> None:
    """One example for each split that is cut, and one that stays for training."""
    splits: tuple[str, ...] = ("validation", "training")
    if info.test_size is None:
        splits = ("test", *splits)
    small = [
        f"{name!r} has {count}"
        # Values are one group without a name.
        for name, count in zip(info.classes, counts.tolist(), strict=False)
        if count < len(splits)
    ]
    if small:
        more = f" and {len(small) - MOST_NAMED} more classes" if len(small) > MOST_NAMED else ""
        raise CutError(
            f"too few examples to divide among {', '.join(splits[:-1])} and {splits[-1]}: "
            f"class {', '.join(small[:MOST_NAMED])}{more}; each class needs {len(splits)}",
            f"add images until every class has at least {len(splits)}, or leave the class out, and "
            "register the dataset under a new name",
            "/dataset/name",
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """Row numbers, ascending: `train`, `val` and an untouched test of the set's own (None) or a cut one."""

    train: Integers
    val: Integers
    test: Integers | None


def cut(labels: Array, spec: DatasetSpec, info: DatasetInfo) -> Cut:
    """`labels` are classes, or values. Raises CutError as `share_out`."""
    groups = labels if info.classes else numpy.zeros(len(labels), dtype=numpy.int64)
    counts = numpy.bincount(groups, minlength=max(len(info.classes), 1))
    shares = share_out(counts, spec, info)
    test, rest = None, numpy.arange(len(labels))
    if shares.test is not None:
        test, rest = _take(groups, rest, shares.test, _TEST, spec.split_seed)
    val, train = _take(groups, rest, shares.val, _VAL, spec.split_seed)
    if shares.train.sum() < len(train):
        seed = spec.split_seed if spec.subset_seed is None else spec.subset_seed
        train, _ = _take(groups, train, shares.train, _TRAIN, seed)
    return Cut(train, val, test)


def _take(
    groups: Array, rows: Integers, counts: Integers, step: int, seed: int
) -> tuple[Integers, Integers]:
    """`counts` of the rows of each class, and the remaining rows; both ascending."""
    # One permutation of all rows, then the first ones of each class: the rows of one class do not
    # depend on how many of the others are taken.
    shuffled = rows[torch.randperm(len(rows), generator=generator("split", seed, step)).numpy()]
    taken = numpy.zeros(len(groups), dtype=bool)
    for group, count in enumerate(counts):
        taken[shuffled[groups[shuffled] == group][:count]] = True
    return rows[taken[rows]], rows[~taken[rows]]


def _allocate(counts: Integers, total: int, part: Part, pointer: str) -> Integers:
    """`total` by largest remainder (Hamilton's method), each class between 1 and its count; a part that
    others are cut from after it leaves one of each class."""
    highest = counts if part == "train" else counts - 1
    if not len(counts) <= total <= highest.sum():
        raise CutError(
            f"the {part} split would hold {total} of {counts.sum()} examples but can hold "
            f"{len(counts)} to {highest.sum()}: at least one of each class, "
            "and one of each left for the other splits",
            "a larger dataset" if part == "test" else "another train_size or val_fraction",
            pointer,
        )
    # For 10 of 24, 15 and 11 examples the quotas are 4.8, 3.0 and 2.2. Rounded down they give 9,
    # and the one that is missing goes to the first class, which lost most. Where the limits of 1
    # and of a class's count give too many, the class that is furthest above its quota gives one
    # back.
    quota = counts * (total / counts.sum())
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
    # The old label may come again: with 10 classes a noise of 0.2 changes about 18 % of the labels.
    drawn = torch.randint(classes, (len(chosen),), generator=chance)
    return labels.index_copy(0, chosen, drawn)
