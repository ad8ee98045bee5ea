"""`pretrain`: what is trained before the arms, once for each seed, and what begins from it."""

from typing import Any

import pytest

from studies.spec.arms import TO_BE_PRETRAINED
from studies.spec.expand import expand
from studies.spec.pretraining import expand_pretrained, refuse_idle_pretraining
from studies.spec.study import StudyError, StudySpec, read_study
from studies.spec.trials import count_trials, expand_trials
from trainer.spec import InitFrom

DOCUMENT: dict[str, Any] = {
    "name": "frozen",
    "base": {
        "dataset": {"name": "digits", "train_size": 100},
        "model": {"name": "mlp"},
        "norm": {"kind": "batch"},
        "training": {"epochs": 3, "batch_size": 2},
    },
    "pretrain": {"dataset": {"train_size": 600}, "training": {"batch_size": 32}},
    "variants": {"batch": {}, "frozen": {"norm": {"frozen": "statistics"}}},
    "seeds": 2,
}


def make(**fields: Any) -> StudySpec:
    return read_study({**DOCUMENT, **fields})


def refusals(study: StudySpec) -> list[tuple[str, str]]:
    with pytest.raises(StudyError) as refused:
        refuse_idle_pretraining(study)
    return [(one.pointer, one.detail) for one in refused.value.problems]


def test_there_is_one_pretraining_for_each_seed_and_it_is_the_base_with_the_patch() -> None:
    study = make(matrix={"training.batch_size": [2, 32]})
    first, second = expand_trials(study)
    assert (first.name, first.variant, first.point) == ("pretraining | seed 0", "pretraining", {})
    assert (first.trial, first.spec.evaluations, first.spec.init_from) == ({}, (), None)
    assert (first.spec.seed, second.spec.seed) == (0, 1)
    assert (first.spec.dataset.train_size, first.spec.training.batch_size) == (600, 32)
    assert first.spec.training.model_dump()["epochs"] == 3
    assert count_trials(study) == 2
    assert len(expand(study)) == 8


def test_arms_begin_from_the_checkpoint_that_is_found_as_they_say() -> None:
    variants = {
        "batch": {},
        "frozen": {"norm": {"frozen": "all"}, "init_from": {"checkpoint": "last"}},
        "scratch": {"init_from": None},
    }
    study = make(variants=variants, base={**DOCUMENT["base"], "init_from": {"reset_head": True}})
    assert {
        cell.spec.init_from.job for cell in expand(study) if cell.spec.init_from is not None
    } == {TO_BE_PRETRAINED}

    def find(wanted: InitFrom) -> InitFrom:
        return wanted.model_copy(update={"job": 40, "digest": "a" * 32})

    cells = {cell.variant: cell for cell in expand_pretrained(study, 1, find)}
    assert {cell.seed for cell in cells.values()} == {1}
    assert cells["batch"].spec.init_from == InitFrom(job=40, reset_head=True, digest="a" * 32)
    last = InitFrom(job=40, checkpoint="last", reset_head=True, digest="a" * 32)
    assert cells["frozen"].spec.init_from == last
    assert cells["scratch"].spec.init_from is None


def test_where_the_seed_cuts_the_data_it_cuts_those_of_the_pretraining_too() -> None:
    resampled = expand_trials(make(splits="resampled"))
    assert [cell.spec.dataset.split_seed for cell in resampled] == [0, 1]
    whole = make(splits="subsets", pretrain={"dataset": {"train_size": None}})
    assert [cell.spec.dataset.subset_seed for cell in expand_trials(whole)] == [None, None]
    assert [cell.spec.dataset.subset_seed for cell in expand(whole)] == [0, 1, 0, 1]
    [(place, detail)] = refusals(make(splits="resampled", pretrain={"dataset": {"split_seed": 3}}))
    assert place == "/pretrain/dataset/split_seed"
    assert "seed k is the split_seed" in detail


def test_where_subsets_are_drawn_all_share_one_split_whose_seed_may_be_given() -> None:
    base = {**DOCUMENT["base"], "dataset": {**DOCUMENT["base"]["dataset"], "split_seed": 3}}
    refuse_idle_pretraining(make(splits="subsets", base=base))
    for name in ("split_seed", "subset_seed"):
        other = make(splits="subsets", pretrain={"dataset": {name: 5}})
        assert [place for place, _ in refusals(other)] == [f"/pretrain/dataset/{name}"]


def test_a_study_without_it_is_written_as_before() -> None:
    assert "pretrain" not in make(pretrain=None).model_dump(mode="json")


@pytest.mark.parametrize(
    ("part", "place", "words"),
    [
        ({"init_from": {"job": 3}}, "/pretrain/init_from", "starts from random weights"),
        ({"evaluations": []}, "/pretrain/evaluations", "on validation alone"),
        ({"seed": 3}, "/pretrain/seed", "belongs to the study"),
        ({"optimizer": {"lr": -1.0}}, "/pretrain/optimizer", ""),
        ({"modle": {}}, "/pretrain/modle", "unknown key"),
    ],
)
def test_what_a_pretraining_may_not_say_is_refused_at_its_place(
    part: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(StudyError) as refused:
        expand_trials(make(pretrain=part))
    [problem] = refused.value.problems
    assert problem.pointer.startswith(place)
    assert words in problem.detail


def test_a_mistake_of_the_base_is_told_there() -> None:
    base = {**DOCUMENT["base"], "optimizer": {"kind": "sgd", "lr": -1.0}}
    with pytest.raises(StudyError) as refused:
        expand_trials(make(base=base))
    assert [one.pointer for one in refused.value.problems] == ["/base/optimizer/lr"]


@pytest.mark.parametrize("key", ["job", "digest"])
def test_another_job_to_begin_from_is_refused_beside_it(key: str) -> None:
    variants = {"batch": {}, "other": {"init_from": {key: 40}}}
    with pytest.raises(StudyError) as refused:
        expand(make(variants=variants))
    [problem] = refused.value.problems
    assert problem.pointer == f"/variants/other/init_from/{key}"
    assert "not from another job" in problem.detail


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tune": {"optimizer.lr": [0.1, 0.01]}}, "/tune"),
        (
            {
                "search": {
                    "space": {"optimizer.lr": {"kind": "float", "low": 0.1, "high": 1.0}},
                    "trials": 3,
                }
            },
            "/search",
        ),
        ({"seeds": "until decided, at most 24"}, "/seeds"),
    ],
)
def test_what_also_makes_jobs_follow_from_others_is_refused_beside_it(
    fields: dict[str, Any], place: str
) -> None:
    [(pointer, detail)] = refusals(make(**fields))
    assert pointer == place
    assert "can't have a pretraining" in detail


def test_a_pretraining_that_nothing_begins_from_is_refused() -> None:
    variants = {
        "batch": {"init_from": None},
        "layer": {"init_from": None, "norm": {"kind": "layer"}},
    }
    assert [place for place, _ in refusals(make(variants=variants))] == ["/pretrain"]


def test_its_name_is_no_variants() -> None:
    variants = {"batch": {}, "pretraining": {"training": {"epochs": 4}}}
    assert [place for place, _ in refusals(make(variants=variants))] == ["/variants/pretraining"]


def test_it_may_not_see_what_tests_the_arms() -> None:
    [(place, detail)] = refusals(make(pretrain={"dataset": {"split_seed": 3}}))
    assert place == "/pretrain/dataset/split_seed"
    assert "examples that test the arm" in detail
    refuse_idle_pretraining(make(pretrain={"dataset": {"name": "mnist1d", "split_seed": 3}}))


def test_it_is_trained_where_the_arms_are() -> None:
    for pretrain, base in (({"device": "cpu"}, {"device": "cuda"}), ({"device": "auto"}, {"device": "cpu"})):  # fmt: skip
        study = make(pretrain={"resources": pretrain}, base={**DOCUMENT["base"], "resources": base})
        [(place, detail)] = refusals(study)
        assert place == "/pretrain"
        assert "one kind of device" in detail
