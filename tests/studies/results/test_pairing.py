"""Which jobs are pairs: equal in seed, data and settings but for what is compared; and why others aren't."""

import dataclasses
from typing import Any

import pytest

from store.results import ComparedJob
from studies.results import keys, pairing
from studies.results.keys import find_free, group_by_key, list_declared, make_key_reader
from studies.results.pairing import drop_repeated, pair_jobs
from tests.support.compared import METRIC, make_compared

NONE: dict[str, Any] = {"norm": {"kind": "none"}}
GROUP: dict[str, Any] = {"norm": {"kind": "group", "groups": 4}}
DECAY = {"kind": "weight_decay", "value": 0.001}


def make_all(start: int, *parts: dict[str, Any]) -> list[ComparedJob]:
    return [make_compared(number, 0.5, **one) for number, one in enumerate(parts, start)]


def pair(
    jobs: list[ComparedJob], reference: list[ComparedJob], *by: str, metric: str = METRIC
) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """The ids of the pairs, and the reasons with their jobs."""
    free, read_key = find_free(by), make_key_reader(metric)
    found = pair_jobs(*(group_by_key(part, free, read_key) for part in (jobs, reference)))
    ids = [(own.job_id, other.job_id) for own, other in found.pairs]
    return ids, {reason.why: reason.jobs for reason in found.unpaired}


def test_a_pair_has_one_seed_and_one_setting_but_for_what_is_compared() -> None:
    group = make_all(1, *({**GROUP, "seed": seed} for seed in (0, 1, 2)))
    none = make_all(11, *({**NONE, "seed": seed} for seed in (2, 1, 7)))
    ids, reasons = pair(group, none, "norm.kind")
    assert ids == [(2, 12), (3, 11)]
    assert reasons == {"the reference has no job with seed 0": 1}


def test_who_has_no_partner_is_told_what_differs_from_the_nearest_setting() -> None:
    small = {"training": {"epochs": 2, "batch_size": 8}}
    group = make_all(1, {**GROUP, **small}, {**GROUP, **small, "seed": 1}, GROUP)
    none = make_all(11, NONE, {**NONE, "model": {"name": "cnn"}, "training": {"epochs": 3}})
    ids, reasons = pair(group, none, "norm.kind")
    assert ids == [(3, 11)]
    assert reasons == {"they differ in training.batch_size": 2}


def test_settings_that_are_not_compared_must_be_equal() -> None:
    fast = make_all(1, {**GROUP, "optimizer": {"kind": "sgd", "lr": 0.1}})
    none = make_all(11, {**NONE, "optimizer": {"kind": "sgd", "lr": 0.2}})
    assert pair(fast, none, "norm.kind") == ([], {"they differ in optimizer.lr": 1})
    assert pair(fast, none, "norm.kind", "optimizer.lr")[0] == [(1, 11)]


def test_what_changes_nothing_of_what_is_learned_may_differ() -> None:
    one = make_all(1, {**GROUP, "project": "mine", "resources": {"device": "cpu"}})
    other = make_all(11, {**NONE, "evaluations": []})
    assert pair(one, other, "norm.kind")[0] == [(1, 11)]


def test_one_option_of_a_list_is_compared_without_the_others() -> None:
    dropout = {"kind": "dropout", "p": 0.5}
    with_it = make_all(1, {"regularization": [dropout, DECAY]}, {"regularization": [dropout]})
    without = make_all(11, {"regularization": [DECAY]})
    for field in ("regularization.dropout.p", "regularization.p"):
        ids, reasons = pair(with_it, without, field)
        assert ids == [(1, 11)]
        assert reasons == {"they differ in regularization": 1}
    assert pair(with_it[1:], without, "regularization.kind")[0] == [(2, 11)]


@pytest.mark.parametrize(
    ("field", "dataset"),
    [
        ("dataset.name", {"name": "moons"}),
        ("dataset.val_fraction", {"val_fraction": 0.5}),
        ("dataset.label_noise", {"label_noise": 0.25}),
        ("dataset.binarize", {"binarize": 0.5}),
        ("dataset.image_size", {"image_size": 16}),
    ],
)
def test_jobs_that_are_measured_on_different_examples_are_never_a_pair(
    field: str, dataset: dict[str, Any]
) -> None:
    reason = f"they were not measured in the same way: {field} differs"
    digits = make_all(1, {})
    other = make_all(11, {"dataset": {"name": "digits", **dataset}})
    assert pair(digits, other, field) == ([], {reason: 1})
    # Who groups by the training examples, or by what they are drawn from, groups by nothing else.
    assert pair(digits, other, "dataset.train_size") == ([], {reason: 1})


def test_a_shift_or_another_loss_is_measured_in_another_way() -> None:
    shifted = make_all(1, {"dataset": {"name": "digits", "shift": {"noise": 0.25}}})
    ids, [reason] = pair(shifted, make_all(11, {}), "dataset.shift.noise")
    assert ids == []
    assert "not measured in the same way: dataset.shift" in reason
    task = {"task": {"kind": "reconstruction", "loss": "mse"}}
    other = {"task": {"kind": "reconstruction", "loss": "bce"}}
    ids, [reason] = pair(make_all(1, task), make_all(11, other), "task.loss")
    assert (ids, reason) == ([], "they were not measured in the same way: task.loss differs")


def test_training_sets_may_be_compared_and_cuts_of_the_data_not() -> None:
    few = make_all(1, {"dataset": {"name": "digits", "train_size": 100}})
    assert pair(few, make_all(11, {}), "dataset.train_size")[0] == [(1, 11)]
    cut = make_all(21, {"dataset": {"name": "digits", "split_seed": 3}})
    assert pair(make_all(1, {}), cut, "dataset.split_seed") == (
        [],
        {"their data are split by another seed": 1},
    )


def test_one_name_of_a_metric_may_mean_two_evaluations() -> None:
    """The split, the shift, the mode and the weights are compared of the metric's own evaluation alone."""
    plain = {"name": "robust", "split": "test"}
    for change in (
        {"split": "val"},
        {"shift": {"noise": 0.5}},
        {"mode": "mc_dropout"},
        {"weights": "last"},
    ):
        one = make_all(1, {**GROUP, "evaluations": [plain]})
        other = make_all(11, {**NONE, "evaluations": [{**plain, **change}]})
        assert pair(one, other, "norm.kind", metric="robust_accuracy") == (
            [],
            {"they were not measured in the same way: evaluations differs": 1},
        )
        assert pair(one, other, "norm.kind")[0] == [(1, 11)]
    more = make_all(21, {**NONE, "evaluations": [{"split": "val"}, plain]})
    assert pair(one, more, "norm.kind", metric="robust_accuracy")[0] == [(1, 21)]


def test_of_training_examples_a_metric_is_compared_only_where_they_are_the_same() -> None:
    evaluations = [{"split": "train"}]
    one = make_all(1, {"evaluations": evaluations})
    few = {"dataset": {"name": "digits", "train_size": 100}, "evaluations": evaluations}
    metric = "final_train_accuracy"
    assert pair(one, make_all(11, few), "dataset.train_size", metric=metric)[0] == []


def test_a_spec_is_read_once_for_all_seeds_and_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = keys._read_spec
    monkeypatch.setattr(
        keys, "_read_spec", lambda text, metric: read.append(text) or real(text, metric)
    )  # type: ignore[func-returns-value]
    jobs = make_all(1, *({**norm, "seed": seed} for norm in (GROUP, NONE) for seed in range(20)))
    read_key = make_key_reader(METRIC)
    for by in ((), ("norm.kind",), ("optimizer.lr",)):
        for _ in range(3):
            group_by_key(jobs, find_free(by), read_key)
    assert len(read) == 2


def test_the_nearest_setting_is_looked_for_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explained: list[Any] = []
    real = pairing._explain_settings
    monkeypatch.setattr(
        pairing, "_explain_settings", lambda *one: explained.append(one) or real(*one)
    )  # type: ignore[func-returns-value]
    rates = make_all(
        1, *({"optimizer": {"kind": "sgd", "lr": 0.1 + step / 100}} for step in range(30))
    )
    ids, reasons = pair(
        rates, make_all(101, {"training": {"epochs": 2, "batch_size": 8}}), "norm.kind"
    )
    assert ids == []
    assert len(explained) == 10
    assert sum(reasons.values()) == 30


def test_of_several_at_one_seed_none_is_chosen() -> None:
    fine = make_all(1, GROUP, {"norm": {"kind": "group", "groups": 8}})
    ids, reasons = pair(fine, make_all(11, NONE), "norm.kind")
    assert ids == []
    assert reasons == {"several at one seed differ only in norm.groups": 2}


def test_a_job_that_repeats_another_does_not_count_again() -> None:
    jobs = [
        make_compared(1, 0.5, **GROUP),
        make_compared(2, 0.7, **GROUP),
        make_compared(3, None, **GROUP),
        make_compared(4, None, seed=1, **GROUP),
    ]
    distinct = drop_repeated(jobs, METRIC, make_key_reader(METRIC))
    assert [job.job_id for job in distinct.jobs] == [2, 4]
    assert (distinct.repeated, distinct.environments) == (2, ())


def test_a_repetition_in_another_environment_is_said() -> None:
    twins = make_all(1, GROUP, GROUP)
    environment = {**(twins[1].environment or {}), "device": "cuda"}
    twins[1] = dataclasses.replace(twins[1], environment=environment)
    distinct = drop_repeated(twins, METRIC, make_key_reader(METRIC))
    assert [job.job_id for job in distinct.jobs] == [2]
    assert distinct.environments == ("the device",)


def test_a_variant_declares_paths_and_a_study_tunes_others() -> None:
    job = make_compared(1, 0.5)
    changed = {"declared": {"norm": {"kind": "batch", "eps": 1e-3}}, "tuned": {"optimizer.lr": [1]}}
    declared = [ComparedJob(**{**{name: getattr(job, name) for name in job.__slots__}, **changed})]
    assert list_declared(declared) == {"norm.kind", "norm.eps", "optimizer.lr"}
    assert list_declared([job]) == set()
