"""The confound guard: what is hidden is named, what follows from what was declared is no confound."""

from typing import Any

import pytest

from store.results.result_rows import ResultRow
from studies.comparison.schemas import Comparison
from studies.spec.study import StudySpec
from tests.support.result_rows import BASE, alter, change, compare_rows, fake_rows, make_study

STUDY = make_study(("none", "batch", "group"))


def clean(study: StudySpec = STUDY) -> list[ResultRow]:
    return fake_rows(study, lambda variant, _: 0.9, seed=1)


def of(rows: list[ResultRow], variant: str) -> list[ResultRow]:
    return [row for row in rows if row.variant == variant]


def open_kinds(compared: Comparison) -> set[tuple[str, str]]:
    return {(one.kind, one.variant) for one in compared.confounds if one.is_open}


#: A hidden difference of every kind: in which part of the row, what, and which kind it is.
HIDDEN: list[tuple[str, str, Any, str]] = [
    ("facts", "weight_parameters", 1001, "weight_parameters"),
    ("facts", "decayed_bias_parameters", 10, "bias_decay"),
    ("facts", "examples_per_step", 32, "effective_batch"),
    ("facts", "total_steps", 99, "steps"),
    ("facts", "schedule", "another", "schedule"),
    ("facts", "data", "other digits", "data"),
    ("facts", "split", "another cut", "split"),
    ("environment", "code", "c0ffee", "code"),
    ("environment", "torch", "2.15.0", "libraries"),
    ("environment", "numpy", "2.5", "libraries"),
    ("environment", "device", "cuda", "device"),
    ("environment", "cpu", "another processor", "processor"),
    ("environment", "threads", "2", "threads"),
    ("environment", "precision", "bf16", "precision"),
    ("environment", "compiled", "True", "compiled"),
    ("environment", "memory_format", "channels_last", "numerics"),
]


@pytest.mark.parametrize(("part", "name", "value", "kind"), HIDDEN)
def test_a_hidden_difference_is_named_and_withholds_the_ranking(
    part: str, name: str, value: Any, kind: str
) -> None:
    rows = clean()
    for row in of(rows, "group"):
        change(row, part, **{name: value})
    compared = compare_rows(STUDY, rows)
    assert open_kinds(compared) == {(kind, "group")}
    assert (compared.verdict.state, compared.best) == ("withheld", None)
    assert any(repr(kind) in reason for reason in compared.verdict.reasons)
    assert all(
        one.difference is None or one.difference.decision is None for one in compared.variants
    )


@pytest.mark.parametrize(("part", "name", "value", "kind"), HIDDEN)
def test_one_seed_is_enough(part: str, name: str, value: Any, kind: str) -> None:
    rows = clean()
    change(of(rows, "batch")[3], part, **{name: value})
    [one] = [one for one in compare_rows(STUDY, rows).confounds if one.is_open]
    assert (one.kind, one.variant, one.seeds) == (kind, "batch", 1)


def compare_codes(monkeypatch: pytest.MonkeyPatch, **generations: int) -> Comparison:
    """Of a baseline trained by code of the digest `before` and a variant by code of the digest `now`."""
    monkeypatch.setattr("trainer.code_versions.GENERATIONS", generations)
    rows = clean()
    for row in rows:
        change(row, "environment", code="now" if row.variant == "group" else "before")
    return compare_rows(STUDY, rows)


def test_code_that_gives_equal_results_is_no_confound(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = compare_codes(monkeypatch, before=1, now=1)
    assert "code" not in {one.kind for one in compared.confounds}
    assert compared.verdict.state != "withheld"


@pytest.mark.parametrize(
    ("generations", "before", "now"),
    [
        ({"before": 1, "now": 2}, "generation 1", "generation 2"),
        ({"before": 1}, "generation 1", "now"),
        ({}, "before", "now"),
    ],
)
def test_code_of_another_generation_is_a_confound(
    monkeypatch: pytest.MonkeyPatch, generations: dict[str, int], before: str, now: str
) -> None:
    compared = compare_codes(monkeypatch, **generations)
    assert open_kinds(compared) == {("code", "group")}
    [one] = [one for one in compared.confounds if one.is_open]
    assert (one.baseline_value, one.variant_value) == ({"code": before}, {"code": now})


@pytest.mark.parametrize("kind", sorted({kind for *_, kind in HIDDEN}))
def test_a_difference_that_is_declared_withholds_nothing(kind: str) -> None:
    rows = clean()
    part, name, value = next((p, n, v) for p, n, v, k in HIDDEN if k == kind)
    for row in of(rows, "group"):
        change(row, part, **{name: value})
    compared = compare_rows(STUDY, rows, declared={kind: "we know"})
    assert open_kinds(compared) == set()
    assert {one.declared for one in compared.confounds if one.kind == kind} == {"we know"}
    assert compared.verdict.state != "withheld"
    in_document = make_study(("none", "batch", "group"), declared={kind: "we know"})
    assert compare_rows(in_document, rows).verdict.state != "withheld"


def test_a_parameter_of_the_spec_that_the_study_does_not_speak_of_is_named() -> None:
    rows = clean()
    for row in of(rows, "group"):
        row.spec["optimizer"]["lr"] = 0.7
    [one] = [one for one in compare_rows(STUDY, rows).confounds if one.is_open]
    assert (one.kind, one.what, one.variant_value) == ("spec", "optimizer.lr", 0.7)
    assert one.baseline_value != 0.7


@pytest.mark.parametrize("fact", ["norm_parameters", "bias_parameters"])
def test_parameters_that_no_declared_field_explains_are_named(fact: str) -> None:
    """The same norm at two learning rates: nothing may differ in what is learned."""
    norm = {"norm": {"kind": "batch"}}
    study = make_study({"slow": norm, "fast": {**norm, "optimizer": {"kind": "sgd", "lr": 0.5}}})
    rows = clean(study)
    for row in of(rows, "fast"):
        change(row, "facts", **{fact: 4000})
    assert open_kinds(compare_rows(study, rows)) == {(fact, "fast")}


def test_biases_that_surgery_gives_to_neither_are_no_consequence_of_the_norm() -> None:
    study = make_study(("batch", "group"))
    rows = clean(study)
    for row in of(rows, "group"):
        change(row, "facts", bias_parameters=4000)
    assert open_kinds(compare_rows(study, rows)) == {("bias_parameters", "group")}


def test_decay_on_norms_is_no_consequence_of_the_optimizer() -> None:
    norm = {"norm": {"kind": "batch"}}
    study = make_study({"sgd": norm, "adam": {**norm, "optimizer": {"kind": "adam"}}})
    rows = clean(study)
    for row in of(rows, "adam"):
        change(row, "facts", decayed_norm_parameters=64)
    assert open_kinds(compare_rows(study, rows)) == {("norm_decay", "adam")}


def test_two_fields_that_nobody_declared_are_two_reasons() -> None:
    rows = clean()
    for row in of(rows, "group"):
        row.spec["optimizer"]["lr"] = 0.7
        row.spec["model"]["activation"] = "tanh"
    reasons = " ".join(compare_rows(STUDY, rows).verdict.reasons)
    assert "optimizer.lr" in reasons
    assert "model.activation" in reasons


def test_weight_decay_that_reaches_the_norms_of_one_variant_is_named() -> None:
    study = make_study(("batch", "group"))
    rows = clean(study)
    for row in of(rows, "group"):
        change(row, "facts", decayed_norm_parameters=64)
    assert open_kinds(compare_rows(study, rows)) == {("norm_decay", "group")}


def test_nothing_is_flagged_on_a_clean_study() -> None:
    compared = compare_rows(STUDY, clean())
    assert open_kinds(compared) == set()
    assert {(one.kind, one.causes) for one in compared.confounds} == {
        ("norm_parameters", ("norm.kind",)),
        ("norm_parameters", ("norm.groups", "norm.kind")),
    }
    assert compared.verdict.state in ("decided", "undecided")


def test_what_surgery_does_to_biases_is_a_consequence_of_the_norm() -> None:
    rows = clean()
    for row in of(rows, "none"):
        change(row, "facts", bias_parameters=42)
    compared = compare_rows(STUDY, rows)
    assert open_kinds(compared) == set()
    assert {one.kind for one in compared.confounds} == {"norm_parameters", "bias_parameters"}


@pytest.mark.parametrize(
    ("variant", "fact", "value"),
    [
        ({"training": {"batch_size": 32}}, "examples_per_step", 32),
        ({"training": {"batch_size": 32}}, "total_steps", 200),
        ({"optimizer": {"kind": "sgd", "lr": 0.5}}, "schedule", "another"),
        ({"schedule": {"kind": "cosine"}}, "schedule", "another"),
        ({"model": {"name": "cnn"}}, "weight_parameters", 7),
        ({"dataset": {"train_size": 100}}, "split", "another"),
        (
            {"regularization": [{"kind": "weight_decay", "value": 0.1}]},
            "decayed_bias_parameters",
            9,
        ),
    ],
)
def test_what_follows_from_a_declared_field_is_a_consequence(
    variant: dict[str, Any], fact: str, value: Any
) -> None:
    norm = {"norm": {"kind": "batch"}}
    study = make_study(variants={"plain": norm, "changed": {**norm, **variant}})
    rows = clean(study)
    for row in of(rows, "changed"):
        change(row, "facts", **{fact: value})
    compared = compare_rows(study, rows)
    assert open_kinds(compared) == set()
    assert [one.causes != () for one in compared.confounds] == [True]


@pytest.mark.parametrize(
    ("field", "value", "fact", "recorded"),
    [("precision", "bf16", "precision", "bf16"), ("compile", True, "compiled", "True")],
)
def test_precision_and_compilation_follow_from_their_own_fields_alone(
    field: str, value: Any, fact: str, recorded: str
) -> None:
    norm = {"norm": {"kind": "batch"}}
    for training, is_open in (({field: value}, False), ({"batch_size": 32}, True)):
        study = make_study({"plain": norm, "changed": {**norm, "training": training}})
        rows = clean(study)
        for row in of(rows, "changed"):
            change(row, "environment", **{fact: recorded})
        confounds = [one for one in compare_rows(study, rows).confounds if one.kind == fact]
        assert [one.variant_value for one in confounds] == [{fact: recorded}]
        assert [one.is_open for one in confounds] == [is_open]


def test_what_both_variants_declare_alike_is_no_cause() -> None:
    same = {"training": {"batch_size": 64}}
    variants = {name: {"norm": {"kind": name}, **same} for name in ("batch", "layer")}
    study = make_study(variants)
    rows = clean(study)
    for row in of(rows, "layer"):
        change(row, "facts", examples_per_step=8)
    assert open_kinds(compare_rows(study, rows)) == {("effective_batch", "layer")}


@pytest.mark.parametrize(
    ("base", "variant"),
    [
        ({"training": {"epochs": 3}}, {"training": {"steps": 90, "eval_every": 30}}),
        ({"training": {"steps": 90, "eval_every": 30}}, {"training": {"epochs": 3}}),
        ({"norm": {"kind": "group", "groups": 8}}, {"norm": {"channels_per_group": 4}}),
    ],
)
def test_what_gives_way_to_a_declared_alternative_is_declared(
    base: dict[str, Any], variant: dict[str, Any]
) -> None:
    document = {"norm": {"kind": "batch"}, **BASE, **base}
    study = make_study({"plain": {}, "changed": variant}, base=document)
    assert open_kinds(compare_rows(study, clean(study))) == set()


def test_jobs_without_a_record_are_said_to_have_none() -> None:
    rows = clean()
    for row in rows:
        alter(rows, [row], facts=None, environment=None)
    assert any("30 jobs have no record of what" in note for note in compare_rows(STUDY, rows).notes)


def test_a_difference_between_seeds_that_every_variant_shares_is_a_note() -> None:
    rows = clean()
    for row in rows:
        if row.seed >= 5:
            change(row, "environment", torch="2.15.0")
    compared = compare_rows(STUDY, rows)
    assert open_kinds(compared) == set()
    assert (
        "the versions of libraries isn't the same in all jobs: 2 different ones" in compared.notes
    )


def test_jobs_that_have_not_started_differ_in_nothing() -> None:
    rows = clean()
    for row in of(rows, "group"):
        alter(rows, [row], status="queued", reason=None, metrics={}, facts=None, environment=None)
    assert {one.variant for one in compare_rows(STUDY, rows).confounds} == {"batch"}
