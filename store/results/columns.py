"""The columns of result rows: those that every row has, and any field beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, literal
from sqlalchemy.dialects.postgresql import JSONB

from store.db import BadQuery, Job, Project, Result, Study, User
from store.query import Field, find_field, sql

MOST_COLUMNS = 100
_DOCUMENTS = ("point", "trial", "metrics", "non_finite", "spec", "facts", "environment")

#: What a row has unless other columns are asked for.
ROW: Mapping[str, Any] = {
    "job_id": Result.job_id,
    "study_id": Result.study_id,
    "study": Study.name,
    "project": Project.name,
    "owner": User.name,
    "name": Result.name,
    "variant": Result.variant,
    "point": Job.point,
    "trial": Job.trial,
    "seed": Result.seed,
    "status": Result.status,
    "reason": Result.reason,
    "metrics": Job.metrics,
    "non_finite": Job.non_finite,
    "tags": sql.value_of(find_field("tag")),
    "epochs": sql.trained_epochs(),
    "seconds": Job.seconds_used,
    "attempts": Job.attempt,
    "created_at": Result.created_at,
    "started_at": Result.started_at,
    "finished_at": Result.finished_at,
}
#: What a comparison rests on, too.
MORE: Mapping[str, Any] = {
    "spec": Job.spec,
    "hash": Job.hash,
    "facts": Job.facts,
    "environment": sql.environment(),
    "best_seconds": sql.best_seconds(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is how it was asked for; it never becomes SQL. `key` is equal where `expression` is, and cheaper
    where the value has a column of its own."""

    name: str
    expression: ColumnElement[Any]
    key: ColumnElement[Any]


_WITHOUT_SEED = cast(Job.spec.op("-")(literal("seed", Text)), Text)
#: The same text for all seeds of an arm, so that it needs to be parsed once.
SPEC_WITHOUT_SEED = Column("spec", _WITHOUT_SEED, _WITHOUT_SEED)


def find_column(name: str, position: int = 0) -> Column:
    """A column of every row, one of `MORE`, or any field. Raises BadQuery."""
    if (known := ROW.get(name, MORE.get(name))) is not None:
        return Column(name, known, _key(known))
    field = find_field(name, position)
    value, column = sql.value_of(field), sql.column_of(field)
    return Column(name, value, _key(value) if column is None else column)


def _key(value: Any) -> ColumnElement[Any]:
    # As text, which keeps 1 and 1.0 apart as Python does.
    return cast(value, Text) if isinstance(value.type, JSONB) else value


def parse_names(text: str) -> list[tuple[str, int]]:
    """The names of a list with commas, each once, and where they stand. Raises BadQuery."""
    places: dict[str, int] = {}
    position = 0
    for part in text.split(","):
        name = part.strip()
        place = position + (part.index(name) if name else 0)
        if not name:
            raise BadQuery("a name is missing; names are separated by single commas", place)
        places.setdefault(name, place)
        if len(places) > MOST_COLUMNS:
            raise BadQuery(f"at most {MOST_COLUMNS} names may be given", place)
        position += len(part) + 1
    return list(places.items())


def parse_columns(text: str) -> list[Column]:
    """`job_id,norm.kind,best.val_accuracy`. Raises BadQuery."""
    return [find_column(name, position) for name, position in parse_names(text)]


def parse_keys(text: str) -> list[Column]:
    """What to group by: `norm.kind,optimizer.lr`. Raises BadQuery."""
    return [_find_key(name, position) for name, position in parse_names(text)]


def parse_metric(text: str) -> Field:
    """`test_accuracy`, `best.val_accuracy`, `metrics.NAME`. Raises BadQuery."""
    field = find_field(text.strip())
    if field.place != "metrics":
        detail = f"{field.name} is not a metric; write one like test_accuracy or metrics.NAME"
        raise BadQuery(detail, 0)
    return field


def numbered(columns: Sequence[Column]) -> list[ColumnElement[Any]]:
    """To be read with `named`."""
    # Numbered, since the names are a person's text and two of them may mean the same column.
    return [column.expression.label(f"c{number}") for number, column in enumerate(columns)]


def _find_key(name: str, position: int) -> Column:
    if name in _DOCUMENTS:
        raise BadQuery(f"{name} is a document; name one of its values, like norm.kind", position)
    return find_column(name, position)


def named(row: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    return {column.name: row[f"c{number}"] for number, column in enumerate(columns)}
