"""Cuts: stratified, complete, without overlap, and refused where they cannot be made."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trainer_specs import make_info, make_spec
from trainer.checks.context import CheckContext
from trainer.checks.data import DATA_CHECKS, check_at_least_one_step
from trainer.data.splits import add_label_noise, cut, split_sizes
from trainer.errors import DataError
from trainer.spec.dataset import DatasetInfo, DatasetSpec
from trainer.spec.job import JobSpec


def labelled(*counts: int) -> tuple[numpy.ndarray, DatasetInfo]:
    labels = numpy.repeat(numpy.arange(len(counts)), counts)
    labels = labels[numpy.random.default_rng(0).permutation(len(labels))]
    classes = tuple(str(number) for number in range(len(counts)))
    return labels, make_info(classes=classes, train_size=len(labels))


def context_of(spec: JobSpec, info: DatasetInfo) -> CheckContext:
    """As `build_context` makes it, without a model."""
    return CheckContext(spec, info, split_sizes(spec.dataset, info), info.shape, None, None, None)


@given(
    counts=st.lists(st.integers(12, 60), min_size=2, max_size=6),
    fraction=st.floats(0.1, 0.6),
    seed=st.integers(0, 100),
)
def test_splits_share_out_every_example_once_and_stratified(counts, fraction, seed):
    labels, info = labelled(*counts)
    spec = DatasetSpec(name="x", val_fraction=fraction, split_seed=seed)
    rows = cut(labels, spec, info)
    sizes = split_sizes(spec, info)
    assert (len(rows.train), len(rows.val), len(rows.test)) == (sizes.train, sizes.val, sizes.test)
    assert sorted([*rows.train, *rows.val, *rows.test]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        rest = count - numpy.sum(labels[rows.test] == label)
        assert abs(numpy.sum(labels[rows.test] == label) - 0.2 * count) <= 1.5
        assert abs(numpy.sum(labels[rows.val] == label) - fraction * rest) <= 1.5


def test_a_train_size_keeps_the_shares_and_moves_neither_validation_nor_test():
    labels, info = labelled(100, 50, 25)
    whole = cut(labels, DatasetSpec(name="x"), info)
    small = cut(labels, DatasetSpec(name="x", train_size=28), info)
    assert numpy.array_equal(small.val, whole.val)
    assert numpy.array_equal(small.test, whole.test)
    assert set(small.train) < set(whole.train)
    assert numpy.bincount(labels[small.train]).tolist() == [16, 8, 4]


def test_an_own_test_split_is_left_alone():
    labels, info = labelled(50, 50)
    rows = cut(labels, DatasetSpec(name="x"), info.model_copy(update={"test_size": 7}))
    assert rows.test is None
    assert len(rows.train) + len(rows.val) == 100


def test_another_split_seed_gives_another_cut_and_the_same_one_the_same():
    labels, info = labelled(50, 50)
    one, again, other = (cut(labels, DatasetSpec(name="x", split_seed=s), info) for s in (0, 0, 1))
    assert numpy.array_equal(one.test, again.test)
    assert not numpy.array_equal(one.test, other.test)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((50, 50), {"train_size": 1000}, "train_size cannot exceed the 64 examples"),
        ((50, 50), {"train_size": 65}, "train_size cannot exceed the 64 examples"),
        ((50, 50), {"val_fraction": 0.001}, "val split would hold 0 of 80 .* can hold 2 to 78"),
        ((50, 50), {"train_size": 1}, "train split would hold 1 of 64 .* can hold 2 to 64"),
        ((50, 1), {}, "test, validation and training: class '1' has 1; each class needs 3"),
        ((50, 2, 0), {}, "class '1' has 2, '2' has 0"),
        ((50, *[1] * 7), {}, "'5' has 1 and 2 more classes"),
        ((4, 3), {}, "test split would hold 1 of 7"),
    ],
)
def test_what_cannot_be_cut_is_refused(counts, options, message):
    labels, info = labelled(*counts)
    with pytest.raises(DataError, match=message):
        cut(labels, DatasetSpec(name="x", **options), info)


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    own_test=st.booleans(),
    has_values=st.booleans(),
    fraction=st.floats(0.001, 0.899),
    train_size=st.none() | st.integers(1, 40),
)
def test_the_check_refuses_from_the_class_counts_exactly_what_cannot_be_cut(
    counts, own_test, has_values, fraction, train_size
):
    labels, info = labelled(*counts)
    changes = {"class_counts": tuple(counts), "test_size": 5 if own_test else None}
    if has_values:
        labels = labels.astype(numpy.float32)
        changes |= {"class_counts": None, "target": "value", "classes": ()}
    info = info.model_copy(update=changes)
    spec = make_spec(dataset={"name": "x", "val_fraction": fraction, "train_size": train_size})
    context = context_of(spec, info)
    problems = [
        one for find in DATA_CHECKS if find is not check_at_least_one_step for one in find(context)
    ]
    try:
        rows = cut(labels, spec.dataset, info)
    except DataError:
        assert problems
    else:
        assert not problems
        for part in (rows.train, rows.val, rows.test):
            if part is not None and not has_values:
                assert set(labels[part]) == set(range(len(counts)))


def test_a_class_with_one_image_is_refused_with_its_count_and_a_remedy():
    counts = (40, 40, 39, 1)
    _, info = labelled(*counts)
    info = info.model_copy(update={"class_counts": counts, "classes": ("cat", "cow", "dog", "owl")})
    spec = make_spec(dataset={"name": "animals"})
    for test_size, needed in ((None, 3), (40, 2)):
        held = info.model_copy(update={"test_size": test_size})
        [problem] = [one for find in DATA_CHECKS for one in find(context_of(spec, held))]
        assert problem.pointer == "/dataset/name"
        assert f"class 'owl' has 1; each class needs {needed}" in problem.detail
        assert f"at least {needed}, or leave the class out" in (problem.remedy or "")
    # Registered before classes were counted: only the sizes can be checked.
    old = info.model_copy(update={"class_counts": None})
    assert not [one for find in DATA_CHECKS for one in find(context_of(spec, old))]


def test_label_noise_draws_exactly_the_share_anew():
    labels = torch.zeros(1000, dtype=torch.int64)
    noisy = add_label_noise(labels, DatasetSpec(name="x", label_noise=0.4), 10, "train")
    changed = int((noisy != labels).sum())
    # A tenth of the 400 draws hits the old label.
    assert 340 <= changed <= 380
    assert torch.equal(
        add_label_noise(labels, DatasetSpec(name="x", label_noise=0.0), 10, "train"), labels
    )
    other = add_label_noise(labels, DatasetSpec(name="x", label_noise=0.4), 10, "val")
    assert not torch.equal(noisy, other)


def test_a_subset_seed_draws_other_training_examples_and_leaves_the_rest() -> None:
    labels = numpy.arange(1000) % 10
    info = make_info(train_size=1000)

    def drawn(seed: int | None):
        return cut(labels, DatasetSpec(name="digits", train_size=100, subset_seed=seed), info)

    plain, one, other = drawn(None), drawn(1), drawn(2)
    assert (drawn(0).train == plain.train).all()
    for found in (one, other):
        assert (found.val == plain.val).all()
        assert (found.test == plain.test).all()
        assert numpy.bincount(labels[found.train]).tolist() == [10] * 10
    assert set(one.train) != set(other.train)
    assert (drawn(1).train == one.train).all()


def test_a_subset_needs_a_size() -> None:
    with pytest.raises(ValueError, match="set train_size, too"):
        DatasetSpec(name="digits", subset_seed=1)
