"""Expansion: which cells a study has, what they are called, and what is refused."""

from typing import Any

import pytest

from studies.spec.expand import MAX_CELLS, expand
from studies.spec.merge import locate
from studies.spec.parts import read_job_parts, read_study_parts
from studies.spec.study import StudyError, is_study, read_study

DEMO: dict[str, Any] = {
    "project": "digits",
    "name": "norms",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "cnn", "width": 32},
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
    },
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "group": {"norm": {"kind": "group", "groups": 8}},
    },
    "seeds": 2,
}


def study(**change: Any) -> dict[str, Any]:
    return {**DEMO, **change}


def names(document: dict[str, Any]) -> list[str]:
    return [cell.name for cell in expand(read_study(document))]


def refused(document: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(StudyError) as caught:
        expand(read_study(document))
    return [(one.pointer, one.detail) for one in caught.value.problems]


def test_variants_times_seeds_in_the_order_of_the_document() -> None:
    assert names(DEMO) == ["none | seed 0", "none | seed 1", "group | seed 0", "group | seed 1"]
    assert read_study(DEMO).baseline == "none"


def test_a_cell_is_base_and_variant_merged_with_its_seed() -> None:
    cell = expand(read_study(study(seeds=[7])))[1]
    assert cell.spec.model_dump(mode="json")["norm"]["groups"] == 8
    assert cell.spec.model_dump(mode="json")["model"]["width"] == 32
    assert (cell.seed, cell.spec.seed, cell.spec.project) == (7, 7, "digits")


def test_another_kind_replaces_what_the_base_says() -> None:
    cells = expand(read_study(study(variants={
        "sgd": {"norm": {"kind": "none"}},
        "adam": {"norm": {"kind": "none"}, "optimizer": {"kind": "adam"}},
    })))  # fmt: skip
    assert cells[0].spec.optimizer.lr == 0.05
    assert cells[2].spec.optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ("base", "variant", "path", "left"),
    [
        ({"epochs": 3, "batch_size": 8}, {"steps": 5, "eval_every": 5}, "training", "epochs"),
        ({"steps": 5, "eval_every": 5}, {"epochs": 3}, "training", "steps"),
        ({"kind": "group", "groups": 8}, {"channels_per_group": 4}, "norm", "groups"),
    ],
)
def test_an_alternative_takes_the_place_of_what_the_base_says(
    base: dict[str, Any], variant: dict[str, Any], path: str, left: str
) -> None:
    whole = {**DEMO["base"], "norm": {"kind": "none"}, path: base}
    (cell,) = expand(read_study(study(base=whole, variants={"v": {path: variant}}, seeds=1)))
    part = cell.spec.model_dump(mode="json")[path]
    assert part.get(left) is None
    assert variant.items() <= part.items()


def test_the_matrix_multiplies_and_names_stay_short() -> None:
    document = study(matrix={"training.batch_size": [64, 8], "norm": [{"eps": 1e-3}]}, seeds=1)
    document["variants"] = {"group": DEMO["variants"]["group"]}
    cells = expand(read_study(document))
    assert [cell.name for cell in cells] == [
        "group · norm=(eps=0.001) · batch_size=64 | seed 0",
        "group · norm=(eps=0.001) · batch_size=8 | seed 0",
    ]
    assert [cell.spec.training.batch_size for cell in cells] == [64, 8]
    assert cells[0].spec.model_dump()["norm"]["groups"] == 8


def test_a_path_may_lead_into_a_list() -> None:
    base = {**DEMO["base"], "regularization": [{"kind": "dropout", "p": 0.1}]}
    cells = expand(read_study(study(base=base, matrix={"regularization.0.p": [0.1, 0.5]}, seeds=1)))
    assert [cell.spec.regularization[0].p for cell in cells[:2]] == [0.1, 0.5]  # type: ignore[union-attr]


def test_include_adds_and_exclude_removes() -> None:
    document = study(
        matrix={"training.batch_size": [64, 8]},
        exclude=[{"variant": "none", "training.batch_size": 8}],
        include=[{"variant": "group", "training.batch_size": 2}],
        seeds=1,
    )
    assert names(document) == [
        "none · batch_size=64 | seed 0",
        "group · batch_size=64 | seed 0",
        "group · batch_size=8 | seed 0",
        "group · batch_size=2 | seed 0",
    ]


def test_more_seeds_leave_the_present_cells_as_they_are() -> None:
    few, many = (expand(read_study(study(seeds=n))) for n in (2, 5))
    assert set(cell.name for cell in few) < set(cell.name for cell in many)
    assert {cell.name: cell.spec for cell in few}.items() <= {
        cell.name: cell.spec for cell in many
    }.items()


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"variants": {}}, "/variants", "at least 1 item"),
        ({"variants": {"a": {"norm": {"kind": "none"}}, "b": {"norm": {"kind": "none"}}}},
         "/variants/b", "would train exactly what 'a' trains"),
        ({"variants": {"a": {"norm": {"kind": "group", "groups": 0}}}},
         "/variants/a/norm/groups", "at least 1"),
        ({"variants": {"a": {}}}, "/base/norm", "required, but missing"),
        ({"variants": {"a": {"norm": {"kind": "none"}, "seed": 3}}}, "/variants/a/seed", "write seeds"),
        ({"base": {**DEMO["base"], "optimizer": {"kind": "sgd", "lr": -1}}},
         "/base/optimizer/lr", "greater than 0"),
        ({"matrix": {"training.batch_size": [0]}}, "/matrix/training.batch_size", "at least 1"),
        ({"matrix": {"training.batch_size": []}}, "/matrix/training.batch_size", "at least 1 item"),
        ({"matrix": {"training.batchsize": [1]}}, "/matrix/training.batchsize", "unknown key"),
        ({"matrix": {"regularization.3.p": [1]}}, "/matrix/regularization.3.p", "has no field '3'"),
        ({"matrix": {"model.name.x": [1]}}, "/matrix/model.name.x", "has no field 'x'"),
        ({"exclude": [{"variant": "batch"}]}, "/exclude/0", "matches no combination"),
        ({"include": [{"variant": "batch"}]}, "/include/0/variant", "must be one of none, group"),
        ({"include": [{"variant": "group", "training.epochs": 0}]}, "/include/0", "at least 1"),
        ({"exclude": [{"variant": "none"}, {"variant": "group"}]}, "/seeds", "this one has 0"),
        ({"seeds": [1, 1]}, "/seeds", "seeds may appear once"),
        ({"seeds": 0}, "/seeds", "at least 1"),
        ({"baseline": "batch"}, "/baseline", "must be one of the variants none, group"),
        ({"matrix": {"training.batch_size": list(range(1, 99)), "training.epochs": list(range(1, 99))}},
         "/matrix", f"1 to {MAX_CELLS} cells, but this one has 38416"),
        ({"matrix": {f"training.x{n}": [1, 2] for n in range(20_000)}},
         "/matrix", "this one has more than 10**12"),
        ({"exclude": [{"variant": "none"}] * 1001}, "/exclude", "at most 1000 items"),
        ({"matrix": {"seed": [7]}}, "/matrix/seed", "write seeds there"),
        ({"matrix": {"project": ["other"]}}, "/matrix/project", "write project there"),
        ({"include": [{"variant": "group", "seed": 7}]}, "/include/0/seed", "write seeds there"),
        ({"base": {**DEMO["base"], "regularization": [{"kind": "l2", "value": 0.1}]},
          "matrix": {"regularization.².value": [0.1]}},
         "/matrix/regularization.².value", "has no field '²'"),
        ({"matrix": {".".join(3000 * "a"): [1]}}, "/matrix/" + ".".join(3000 * "a"), "has 3000 parts"),
        ({"models": "some"}, "/models", "'none', 'best' or 'all'"),
        ({"version": 2}, "/version", "1"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_trained_is_refused(
    change: dict[str, Any], pointer: str, detail: str
) -> None:
    found = refused(study(**change))
    assert any(place == pointer and detail in text for place, text in found), found


@pytest.mark.parametrize(
    ("place", "written"),
    [
        ("/norm/groups", "/variants/group/norm/groups"),
        ("/norm", "/variants/group/norm"),
        ("/optimizer/lr", "/base/optimizer/lr"),
        ("/training/batch_size", "/matrix/training.batch_size"),
        ("/training/epochs", "/base/training/epochs"),
    ],
)
def test_a_pointer_into_a_cell_is_led_back_to_the_study(place: str, written: str) -> None:
    read = read_study(study(matrix={"training.batch_size": [64]}))
    assert locate(read, "group", {"training.batch_size": 64}, place) == written


def test_an_accuracy_is_no_metric_of_record_where_the_task_has_none() -> None:
    regression = {
        "base": {
            "dataset": {"name": "polynomial_noise"},
            "model": {"name": "polynomial"},
            "norm": {"kind": "none"},
            "task": {"kind": "regression"},
        },
        "variants": {"low": {"model": {"degree": 1}}, "high": {"model": {"degree": 15}}},
    }
    found = refused(study(**regression))
    assert found == [("/metric", "a regression has no accuracy but metric is test_accuracy")]
    assert len(names(study(**regression, metric="test_loss"))) == 4


def test_two_arms_never_have_one_name() -> None:
    points = [{"variant": "group", "norm.eps": 0.001}, {"variant": "group", "optimizer.eps": 0.001}]
    document = study(base={**DEMO["base"], "optimizer": {"kind": "adam"}}, include=points)
    assert refused(document)[0][1] == "two arms would both be called 'group · eps=0.001'"


def test_a_document_with_a_base_is_a_study_and_is_told_that_it_needs_variants() -> None:
    document = {"base": {"norm": {"kind": "bacth"}}, "seeds": 3}
    assert is_study(document)
    with pytest.raises(StudyError) as caught:
        read_study(document)
    [problem] = caught.value.problems
    assert problem.pointer == "/variants"
    assert "a study needs `variants`" in problem.detail


def test_what_cannot_be_read_is_no_reason_for_further_problems() -> None:
    """A default in its place, or a variant that is missing then, may fit the rest worse than what was meant."""
    spec = {
        **DEMO["base"],
        "norm": {"kind": "none"},
        "training": {"epochs": 100, "batchsize": 8},
        "schedule": {"kind": "cosine", "warmup_epochs": 30},
    }
    read = read_job_parts(spec)
    assert [one.pointer for one in read.problems] == ["/training/batchsize"]
    assert {"training", "schedule"} <= read.unread

    document = study(
        seeds="five",
        tune={"optimizer.lr": [0.1, 0.2], "seeds": [6, 7]},
        baseline="group",
        variants={"none": {"norm": {"kind": "none"}}, "group": 3},
    )
    _, problems = read_study_parts(document)
    assert {one.pointer for one in problems} >= {"/seeds", "/variants/group"}
    assert "/baseline" not in {one.pointer for one in problems}
    assert not any("other seeds" in one.detail for one in problems)
