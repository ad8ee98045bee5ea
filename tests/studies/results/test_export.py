"""Rows as flat columns, each of which is a field of the query language that means the same."""

from typing import Any

import pytest

from store.query.fields import find_field
from studies.results.export import COLUMNS, Header, flat_metrics, flat_spec, simple
from tests.support.factories import make_spec

PARTS: list[dict[str, Any]] = [
    {},
    {"norm": {"kind": "group", "groups": 4}, "schedule": {"kind": "cosine"}},
    {"regularization": [{"kind": "dropout", "p": 0.2}, {"kind": "weight_decay", "value": 0.1}]},
    {"augmentation": [{"kind": "rotate", "degrees": 15}, {"kind": "flip"}]},
    {"early_stopping": {"kind": "patience", "patience": 3}, "model": {"name": "cnn", "width": 8}},
]


@pytest.mark.parametrize("parts", PARTS)
def test_every_value_of_a_spec_is_under_its_field_s_name(parts: dict[str, Any]) -> None:
    for name, value in flat_spec(make_spec(**parts).model_dump(mode="json")).items():
        assert find_field(name)
        assert isinstance(value, str | int | float)


def test_values_of_lists_are_by_kind_and_together() -> None:
    twice = [
        {"kind": "dropout", "p": 0.1},
        {"kind": "dropout", "p": 0.2},
        {"kind": "l1", "value": 1},
    ]
    flat = flat_spec({"regularization": twice, "model": {"hidden": [8, 64]}, "norm": {"eps": None}})
    assert flat == {
        "regularization.kind": '["dropout", "dropout", "l1"]',
        "regularization.dropout.p": "[0.1, 0.2]",
        "regularization.l1.value": 1,
        "model.hidden": "[8, 64]",
    }


def test_a_metric_is_bare_only_where_a_query_means_the_metric() -> None:
    metrics = {"test_accuracy": 0.5, "epochs": 3.0, "odd": None}
    assert flat_metrics(metrics) == {
        "test_accuracy": 0.5, "metrics.epochs": 3.0, "metrics.odd": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "cell"),
    [([], None), (["a"], "a"), ([1, 2], "[1, 2]"), ([[1]], "[[1]]"), ({"a": "ü"}, '{"a": "ü"}'), ("x", "x"), (None, None)],
)  # fmt: skip
def test_a_cell_holds_one_value(value: Any, cell: Any) -> None:
    assert simple(value) == cell


def test_columns_are_those_of_every_row_then_metrics_then_the_spec() -> None:
    # `seed` is a job's own column, whatever its spec says.
    names = ["norm.kind", "test_accuracy", "seed", "metrics.odd", "dataset.name", "best_val_loss"]
    assert Header.of(names).names == [
        *COLUMNS, "best_val_loss", "metrics.odd", "test_accuracy", "dataset.name", "norm.kind",
    ]  # fmt: skip
