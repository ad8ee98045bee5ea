"""Result rows as flat columns, for export: every column is named as the query language names the field.

A list is its one element, else JSON text; of an empty one nothing is left.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from store.db import BadQuery
from store.query import find_field, spec_fields

#: Of every row, in this order; then metrics, then values of the spec.
COLUMNS = (
    "job_id", "study_id", "study", "project", "owner", "name", "variant", "seed", "status", "reason",
    "tags", "epochs", "seconds", "best_seconds", "attempts", "created_at", "started_at", "finished_at",
    "hash",
)  # fmt: skip
#: What is spread over columns of its own, besides the spec.
DOCUMENTS = ("metrics", "non_finite")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of many jobs: those of every row, then metrics by name (and what only the specs of older versions
    have), then the spec's in its own order."""

    metrics: Sequence[str]
    spec: Sequence[str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Header":
        places = {name: place for place, name in enumerate(spec_fields())}
        # A field of the spec that has the name of a job's own column, such as `seed`, is left to the latter.
        others = {*names}.difference(COLUMNS)
        return cls(
            metrics=sorted(name for name in others if name not in places),
            spec=sorted((name for name in others if name in places), key=places.__getitem__),
        )

    @property
    def names(self) -> list[str]:
        return [*COLUMNS, *self.metrics, *self.spec]


def flat_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """By column; also of `non_finite`."""
    return {_metric_column(name): value for name, value in metrics.items()}


def flat_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`norm.kind`, `optimizer.lr`, `regularization.kind`, `regularization.dropout.p` …"""
    found: dict[str, list[Any]] = {}
    for name, value in _leaves(spec, ""):
        found.setdefault(name, []).append(value)
    return {name: simple(values) for name, values in found.items()}


def simple(value: Any) -> Any:
    """A value that fits in one cell."""
    match value:
        case [one] if not isinstance(one, list | dict):
            return one
        case []:
            return None
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value


# Remembered: a name that no query knows is looked for among all that it may have been meant to be.
@lru_cache(maxsize=4096)
def _metric_column(name: str) -> str:
    """The bare name where it means the metric in a query, too."""
    try:
        return name if find_field(name).place == "metrics" else f"metrics.{name}"
    except BadQuery:
        return f"metrics.{name}"


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _leaves(inner, f"{name}.{key}" if name else key)
        case list():
            for element in value:
                yield from _element(element, name)
        case _ if value is not None:
            yield name, value


def _element(element: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What is of one kind goes by it."""
    # Penalties come in any order. `regularization.dropout.p` is the same column in every job,
    # `regularization.0.p` would not be.
    if not isinstance(element, dict) or "kind" not in element:
        yield from _leaves(element, name)
        return
    yield f"{name}.kind", element["kind"]
    rest = {key: inner for key, inner in element.items() if key != "kind"}
    yield from _leaves(rest, f"{name}.{element['kind']}")
