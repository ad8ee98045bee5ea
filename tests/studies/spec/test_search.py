"""Searches as studies say them: ranges, which arms have them, the first trials, and what is refused."""

import copy
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema_rs import validator_for

from studies.spec.arms import list_arms
from studies.spec.expand import expand
from studies.spec.overrides import override
from studies.spec.parts import collect_problems, read_study_parts
from studies.spec.refusals import refuse_idle_factor, refuse_other_sampler, refuse_unfair_settings
from studies.spec.search import Choice, FloatRange, IntRange
from studies.spec.space import ArmSpace
from studies.spec.study import StudyError, StudySpec, read_study
from studies.spec.trials import (
    count_trials,
    expand_extremes,
    expand_setting,
    expand_trials,
)
from trainer.spec import Problem

DOCUMENT: dict[str, Any] = {
    "name": "s",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
    },
    "variants": {
        "batch": {"norm": {"kind": "batch"}},
        "group": {"norm": {"kind": "group", "groups": 4}},
    },
    "seeds": 3,
    "search": {
        "space": {
            "optimizer.lr": {"kind": "float", "low": 1e-3, "high": 1, "log": True},
            "training.batch_size": {"kind": "int", "low": 8, "high": 64, "log": True},
            "norm.groups": {
                "kind": "categorical",
                "values": [2, 4, 8],
                "when": {"norm.kind": "group"},
            },
        },
        "trials": 12,
        "seeds": [100, 101],
        "sampler": {"kind": "tpe", "startup": 4, "batch": 4},
    },
}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The document after a change of its search."""
    document = copy.deepcopy(DOCUMENT)
    change(document["search"])
    return document


def spaces(study: StudySpec) -> dict[str, ArmSpace]:
    return {arm.variant: ArmSpace(study, arm) for arm in list_arms(study, [])}


def problems_of(document: dict[str, Any]) -> list[Problem]:
    """As a submission collects them."""
    study, problems = read_study_parts(document)
    found = list(problems)
    if study is not None:
        for check in (expand_trials, expand_extremes):
            with collect_problems(found):
                check(study)
    return list(dict.fromkeys(found))


def test_a_range_that_belongs_to_a_kind_of_norm_is_tried_there_alone() -> None:
    trials = expand_trials(read_study(DOCUMENT))
    assert len(trials) == 2 * 4 * 2
    for one in trials:
        assert one.trial is not None
        assert ("norm.groups" in one.trial) == (one.variant == "group")
        assert one.spec.optimizer.lr == one.trial["optimizer.lr"]
        assert one.spec.evaluations == ()
        assert one.seed in (100, 101)


def test_arms_try_the_same_first_settings_as_far_as_they_have_the_same_ranges() -> None:
    first = {name: space.list_first(4) for name, space in spaces(read_study(DOCUMENT)).items()}
    shared = [
        {path: value for path, value in one.items() if path != "norm.groups"}
        for one in first["group"]
    ]
    assert first["batch"] == shared
    assert len({repr(one) for one in shared}) == 4


def test_first_settings_hang_on_the_seed_and_not_on_the_order_of_the_document() -> None:
    def reordered(search: dict[str, Any]) -> None:
        search["space"] = dict(reversed(search["space"].items()))

    def reseeded(search: dict[str, Any]) -> None:
        search["sampler"]["seed"] = 1

    first = spaces(read_study(DOCUMENT))["group"].list_first(4)
    assert spaces(read_study(changed(reordered)))["group"].list_first(4) == first
    assert spaces(read_study(changed(reseeded)))["group"].list_first(4) != first


def test_a_quasi_random_search_is_all_there_at_once_and_covers_the_range() -> None:
    study = read_study(
        changed(lambda search: search.update(trials=32, sampler={"kind": "quasi_random"}))
    )
    assert len(expand_trials(study)) == count_trials(study) == 2 * 32 * 2
    rates = [math.log10(one["optimizer.lr"]) for one in spaces(study)["batch"].list_first(32)]
    # Three decades: of 32 random points a tenth of the range is left empty in a third of the cases, of these never.
    assert all(
        any(low <= rate + 3 < low + 0.3 for rate in rates) for low in (0.3 * n for n in range(10))
    )


def test_what_a_search_says_reads_back_and_has_its_samplers_version() -> None:
    study = read_study(DOCUMENT)
    document = study.model_dump(mode="json")
    assert document["search"]["sampler"]["optuna"] == "5.0.0"
    assert read_study(document) == study


def test_another_version_of_the_sampler_is_refused_of_new_studies_alone() -> None:
    study = read_study(changed(lambda search: search["sampler"].update(optuna="4.9.0")))
    with pytest.raises(
        StudyError, match=r"must be 5\.0\.0, the version of Optuna .*, but got '4.9.0'"
    ) as refused:
        refuse_other_sampler(study)
    assert refused.value.problems[0].pointer == "/search/sampler/optuna"
    refuse_other_sampler(read_study(DOCUMENT))


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        (lambda s: s["space"]["norm.groups"].pop("when"), "/search/space/norm.groups", "unknown key in batch"),
        (lambda s: s["space"]["norm.groups"].update(when={"norm.kind": "layer"}), "/search/space/norm.groups/when", "is true in no arm"),
        (lambda s: s["space"]["optimizer.lr"].update(low=2), "/search/space/optimizer.lr/high", "must be above low"),
        (lambda s: s["space"]["optimizer.lr"].update(low=0), "/search/space/optimizer.lr/low", "above 0 in a logarithmic"),
        (lambda s: s["space"]["optimizer.lr"].update(step=0.1), "/search/space/optimizer.lr/step", "no step"),
        (lambda s: s["space"]["optimizer.lr"].update(low=-1, log=False), "/search/space/optimizer.lr", "greater than 0, but got -1"),
        (lambda s: s["space"]["optimizer.lr"].update(low=-1e308, high=1e308, log=False), "/search/space/optimizer.lr/high", "wider than the largest number"),
        (lambda s: s["space"]["optimizer.lr"].update(low=1000, high=1001, log=False, step=1e-6), "/search/space/optimizer.lr/step", "at least a millionth of 1001"),
        (lambda s: s["space"].update({"optimizr.lr": {"kind": "int", "low": 1, "high": 3}}), "/search/space/optimizr.lr", "did you mean 'optimizer'"),
        (lambda s: s["space"]["optimizer.lr"].update(kind="real"), "/search/space/optimizer.lr/kind", "must be one of 'float'"),
        (lambda s: s["space"]["norm.groups"].update(values=[2, 2]), "/search/space/norm.groups/values", "once each"),
        (lambda s: s["space"].update({"optimizer.rate": {"kind": "int", "low": 1, "high": 3}}), "/search/space/optimizer.rate", "unknown key"),
        (lambda s: s["space"].update({"seed": {"kind": "int", "low": 1, "high": 3}}), "/search/space/seed", "belongs to the study"),
        (lambda s: s["space"]["optimizer.lr"].update(when={"optimizer.lr": 0.1}), "/search/space/optimizer.lr/when", "its own value"),
        (lambda s: s["space"].update({"norm": {"kind": "categorical", "values": [{"kind": "layer"}, {"kind": "rms"}]}}), "/search/space/norm.groups", "inside of norm"),
        (lambda s: s.update(seeds=[2, 9]), "/search/seeds", r"both have [2]"),
        (lambda s: s.update(seeds=[9, 9]), "/search/seeds", "once each"),
        (lambda s: s.update(trials=0), "/search/trials", "at least 1"),
        (lambda s: s.update(trials=1000, seeds=list(range(10, 20))), "/search", "20000 trials are more than"),
        (lambda s: s["sampler"].update(kind="gp"), "/search/sampler/kind", "must be one of 'tpe'"),
        (lambda s: s.update(space={"training.batch_size": {"kind": "categorical", "values": [8, 16]}}), "/search/trials", "'batch' has 2 settings to try, but trials is 12"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused_where_it_stands(
    change: Callable[[dict[str, Any]], Any], pointer: str, detail: str
) -> None:
    problems = problems_of(changed(change))
    assert any(one.pointer == pointer and detail in one.detail for one in problems), problems


@pytest.mark.parametrize(
    ("beside", "pointers"),
    [
        ({"search": {"space": {"dataset.split_seed": {"kind": "int", "low": 1, "high": 9}}, "trials": 3}}, ["/search/space/dataset.split_seed"]),
        ({"search": {"space": {"resources.device": {"kind": "categorical", "values": ["cpu", "cuda"]}}, "trials": 2}}, ["/search/space/resources.device"]),
        ({"search": ..., "tune": {"dataset.train_size": [100, 200], "evaluations": [[], [{}]]}}, ["/tune/dataset.train_size", "/tune/evaluations"]),
        ({"search": ..., "tune": {"dataset.image_size": [8, 16], "augmentation": [[]]}}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_no_arm_chooses_what_all_must_have_in_common(
    beside: dict[str, Any], pointers: list[str]
) -> None:
    document = {key: value for key, value in {**DOCUMENT, **beside}.items() if value is not ...}
    problems: list[Problem] = []
    with collect_problems(problems):
        refuse_unfair_settings(read_study(document))
    assert [one.pointer for one in problems] == pointers


@pytest.mark.parametrize(
    ("beside", "pointer"),
    [
        ({"matrix": {"optimizer.lr": [0.1]}}, "/search/space/optimizer.lr"),
        ({"matrix": {"optimizer": [{"kind": "sgd"}]}}, "/search/space/optimizer.lr"),
        ({"include": [{"variant": "group", "optimizer.lr": 0.1}]}, "/search/space/optimizer.lr"),
        ({"tune": {"optimizer.momentum": [0.1]}}, "/search"),
    ],
)
def test_what_is_searched_is_set_nowhere_else(beside: dict[str, Any], pointer: str) -> None:
    assert pointer in {one.pointer for one in problems_of({**DOCUMENT, **beside})}


def test_every_end_of_every_range_is_checked_beforehand() -> None:
    cells = expand_extremes(read_study(DOCUMENT))
    for variant in ("batch", "group"):
        rates = {one.spec.optimizer.lr for one in cells if one.variant == variant}
        assert {1e-3, 1.0} <= rates
    groups = {one.point["norm.groups"] for one in cells if one.variant == "group"}
    assert groups == {2, 4, 8}


def test_a_condition_may_rest_on_another_range() -> None:
    def nested(search: dict[str, Any]) -> None:
        search["space"] = {
            "norm.groups": {"kind": "int", "low": 1, "high": 4, "when": {"norm.kind": "group"}},
            "norm.kind": {"kind": "categorical", "values": ["layer", "group", "rms"]},
            "optimizer.lr": {"kind": "float", "low": 0.01, "high": 0.1},
        }

    document = changed(nested)
    document["variants"] = {"a": {"norm": {"kind": "none"}}, "b": {"norm": {"kind": "batch"}}}
    study = read_study(document)
    settings = spaces(study)["a"].list_first(30)
    assert {("norm.groups" in one) for one in settings} == {True, False}
    assert all(("norm.groups" in one) == (one["norm.kind"] == "group") for one in settings)
    assert {one.point.get("norm.groups") for one in expand_extremes(study)} >= {1, 2, 3, 4}


def test_the_settings_of_a_small_space_are_counted() -> None:
    def small(search: dict[str, Any]) -> None:
        search["space"]["training.batch_size"] = {"kind": "int", "low": 8, "high": 64, "step": 28}
        search["space"]["optimizer.lr"] = {"kind": "float", "low": 0.1, "high": 0.3, "step": 0.1}

    counted = {name: one.count(1000) for name, one in spaces(read_study(changed(small))).items()}
    assert counted == {"batch": 9, "group": 27}
    assert len(spaces(read_study(changed(small)))["group"].list_first(27)) == 27


@pytest.mark.parametrize(
    "one",
    [
        FloatRange(kind="float", low=1e-4, high=1.0, log=True),
        FloatRange(kind="float", low=-0.3, high=0.4),
        FloatRange(kind="float", low=1000.0, high=1000.5),
        FloatRange(kind="float", low=0.0, high=0.3, step=0.1),
        FloatRange(kind="float", low=0.1, high=0.35, step=0.1),
        IntRange(kind="int", low=1, high=64, log=True),
        IntRange(kind="int", low=2, high=9, step=3),
        Choice(kind="categorical", values=[{"kind": "layer"}, None, 3]),
    ],
)
def test_values_are_within_the_range_and_settle_where_they_are(one: Any) -> None:
    values = [one.value_at(n / 200) for n in range(200)]
    if isinstance(one, Choice):
        assert all(value in one.values for value in values)
        return
    assert one.low == values[0]
    assert values == sorted(values)
    assert all(one.low <= value <= one.last <= one.high for value in values)
    assert [one.settle(value) for value in values] == values
    assert set(one.list_extremes()) >= {one.low, one.last}
    assert max(len(repr(value)) for value in values) <= 9


def test_a_range_that_rests_on_another_is_tried_at_its_ends_where_that_one_allows_it() -> None:
    def rest(search: dict[str, Any]) -> None:
        search["space"]["optimizer.kind"] = {"kind": "categorical", "values": ["adam", "sgd"]}
        search["space"]["optimizer.momentum"] = {
            "kind": "categorical", "values": [0.0, 0.5, 0.9], "when": {"optimizer.kind": "sgd"},
        }  # fmt: skip

    extremes = expand_extremes(read_study(changed(rest)))
    tried = {
        one.trial["optimizer.momentum"]
        for one in extremes
        if "optimizer.momentum" in (one.trial or {})
    }
    assert tried >= {0.0, 0.5, 0.9}


def test_as_many_ends_of_ranges_as_would_take_long_to_check_are_refused() -> None:
    def widen(search: dict[str, Any]) -> None:
        rates = [n / 1000 for n in range(1, 101)]
        search["space"]["optimizer.momentum"] = {"kind": "categorical", "values": rates}
        search.update(trials=2, seeds=[100])

    document = changed(widen)
    document["variants"] = {f"arm-{n}": {"norm": {"kind": "batch"}} for n in range(200)}
    document["search"]["space"].pop("norm.groups")
    [problem] = problems_of(document)
    assert problem.pointer == "/search/space"
    assert "104 ends and values of ranges are checked for each of 200 arms" in problem.detail


def test_conditions_that_hold_nowhere_are_tried_at_a_limited_number_of_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = Counter[str]()
    at = ArmSpace._at

    def count(space: ArmSpace, number: int) -> dict[str, Any]:
        points[space.arm.variant] += 1
        return at(space, number)

    def hide(search: dict[str, Any]) -> None:
        for path in ("optimizer.momentum", "training.warmup"):
            search["space"][path] = {
                "kind": "categorical", "values": list(range(50)), "when": {"training.batch_size": 7},
            }  # fmt: skip

    monkeypatch.setattr(ArmSpace, "_at", count)
    problems = problems_of(changed(hide))
    assert [one.detail for one in problems] == ["is true in no arm of the study"] * 2
    # Twice: for what is refused, and for the ends; and the first trials.
    assert all(2000 <= count <= 2100 for count in points.values()), points


def test_a_setting_that_is_no_spec_is_refused() -> None:
    study = read_study(DOCUMENT)
    with pytest.raises(StudyError, match=r"/search/space/optimizer\.lr: must be greater than 0"):
        expand_setting(study, "batch", {}, {"optimizer.lr": -1.0})


def test_a_range_is_set_as_a_whole_on_the_command_line() -> None:
    settings = ["search.trials=3", "search.space.optimizer.lr={kind: float, low: 0.1, high: 0.2}"]
    search = override(DOCUMENT, settings)["search"]
    assert search["trials"] == 3
    assert search["space"]["optimizer.lr"] == {"kind": "float", "low": 0.1, "high": 0.2}
    assert "norm.groups" in search["space"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["space"]["optimizer.lr"].pop("high"),
        lambda s: s["space"]["optimizer.lr"].update(kind="real"),
        lambda s: s["space"]["norm.groups"].update(values=[2]),
        lambda s: s.pop("space"),
        lambda s: s.update(budget=3),
    ],
)
def test_the_published_schema_refuses_a_search_that_is_none(
    change: Callable[[dict[str, Any]], Any],
) -> None:
    validator = validator_for(StudySpec.model_json_schema())
    assert validator.is_valid(DOCUMENT)
    assert not validator.is_valid(changed(change))


def test_settings_that_cannot_be_read_do_not_count_in_a_small_space() -> None:
    """A momentum of nesterov's is above 0: of eight settings six can be read."""
    space = {
        "optimizer.lr": {"kind": "categorical", "values": [0.1, 0.2]},
        "optimizer.nesterov": {"kind": "categorical", "values": [False, True]},
        "optimizer.momentum": {"kind": "categorical", "values": [0.9, 0.0]},
    }

    def document(trials: int) -> dict[str, Any]:
        # No first trial is one of the two.
        sampler = {"kind": "tpe", "startup": 1, "seed": 1}
        search = {"space": space, "trials": trials, "seeds": [100], "sampler": sampler}
        return {
            **DOCUMENT,
            "variants": {"layer": {"norm": {"kind": "layer"}}},
            "baseline": "layer",
            "search": search,
        }

    with pytest.raises(StudyError, match="has 6 settings to try, but trials is 7") as refused:
        expand_trials(read_study(document(7)))
    assert refused.value.problems[0].pointer == "/search/trials"
    assert len(expand_trials(read_study(document(6)))) == 1


def test_a_factor_belongs_to_halving() -> None:
    def stopping(stop: dict[str, Any]) -> StudySpec:
        return read_study(changed(lambda search: search.update(stop=stop)))

    # What was accepted stays readable.
    study = stopping({"kind": "median", "factor": 3})
    with pytest.raises(StudyError, match="median has no factor") as refused:
        refuse_idle_factor(study)
    assert refused.value.problems[0].pointer == "/search/stop/factor"
    for stop in ({"kind": "median"}, {"kind": "halving"}, {"kind": "halving", "factor": 4}):
        refuse_idle_factor(stopping(stop))


def test_a_rule_that_is_first_asked_after_the_trainings_are_over_is_refused() -> None:
    def stopping(first: int, **training: Any) -> StudySpec:
        document = changed(lambda search: search.update(stop={"kind": "median", "first": first}))
        return read_study({**document, "base": {**document["base"], "training": training}})

    with pytest.raises(StudyError, match="have 4 evaluation periods at most") as refused:
        expand(stopping(4, epochs=4))
    assert refused.value.problems[0].pointer == "/search/stop/first"
    assert expand(stopping(3, epochs=4))
    with pytest.raises(StudyError, match="have 2 evaluation periods at most"):
        expand(stopping(2, steps=20, eval_every=10))
