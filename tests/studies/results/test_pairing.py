"""Which jobs are pairs: equal in seed, data and settings but for what is compared; and why others aren't."""

from typing import Any

import pytest

from store.results import ComparedJob
from studies.results.pairing import drop_repeated, find_free, list_declared, pair_jobs
from tests.support.compared import METRIC, make_compared

NONE: dict[str, Any] = {"norm": {"kind": "none"}}
GROUP: dict[str, Any] = {"norm": {"kind": "group", "groups": 4}}
DECAY = {"kind": "weight_decay", "value": 0.001}


def make_all(start: int, *parts: dict[str, Any]) -> list[ComparedJob]:
    return [make_compared(number, 0.5, **one) for number, one in enumerate(parts, start)]


def pair(
    jobs: list[ComparedJob], reference: list[ComparedJob], *by: str
) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """The ids of the pairs, and the reasons with their jobs."""
    found = pair_jobs(jobs, reference, find_free(by))
    ids = [(own.job_id, other.job_id) for own, other in found.pairs]
    return ids, {one.why: one.jobs for one in found.unpaired}


def test_a_pair_has_one_seed_and_one_setting_but_for_what_is_compared() -> None:
    group = make_all(1, *({**GROUP, "seed": seed} for seed in (0, 1, 2)))
    none = make_all(11, *({**NONE, "seed": seed} for seed in (2, 1, 7)))
    ids, reasons = pair(group, none, "norm.kind")
    assert ids == [(2, 12), (3, 11)]
    assert reasons == {"there is no job beside them at seed 0": 1}


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


def test_different_data_are_never_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = make_all(1, {})
    moons = make_all(11, {"dataset": {"name": "moons"}})
    ids, [reason] = pair(digits, moons, "dataset.name")
    assert ids == []
    assert reason == "they differ in dataset.name"
    cut = make_all(21, {"dataset": {"name": "digits", "split_seed": 3}})
    assert pair(digits, cut, "dataset.split_seed") == (
        [],
        {"they differ in the cut of the data": 1},
    )


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
    assert [job.job_id for job in drop_repeated(jobs, METRIC)] == [2, 4]


def test_a_variant_declares_paths_and_a_study_tunes_others() -> None:
    job = make_compared(1, 0.5)
    changed = {"declared": {"norm": {"kind": "batch", "eps": 1e-3}}, "tuned": {"optimizer.lr": [1]}}
    declared = [ComparedJob(**{**{name: getattr(job, name) for name in job.__slots__}, **changed})]
    assert list_declared(declared) == {"norm.kind", "norm.eps", "optimizer.lr"}
    assert list_declared([job]) == set()
