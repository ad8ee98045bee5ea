"""What a field of a query may be: a job's column, a value of its spec, or a metric."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from typing import Literal, TypeAlias

from store.db import JOB_STATUSES, REASONS, BadQuery
from store.query.spec_fields import spec_fields
from trainer.problems import listed


class Kind(StrEnum):
    """What values a field has."""

    NUMBER = "a number"
    TEXT = "text"
    CHOICE = "one of a few words"
    FLAG = "true or false"
    TIME = "a time"


Place: TypeAlias = Literal["column", "spec", "metrics", "tags"]


@dataclass(frozen=True, slots=True)
class Field:
    """`path`: jsonpath into the job's spec, metrics or tags; `many`: to any number of values."""

    name: str
    kind: Kind
    place: Place = "column"
    path: str = ""
    many: bool = False
    choices: tuple[str, ...] = ()


_COLUMNS = (
    Field("id", Kind.NUMBER),
    Field("name", Kind.TEXT),
    Field("status", Kind.CHOICE, choices=JOB_STATUSES),
    Field("reason", Kind.CHOICE, choices=REASONS),
    Field("variant", Kind.TEXT),
    Field("seed", Kind.NUMBER),
    Field("study", Kind.TEXT),
    Field("project", Kind.TEXT),
    Field("owner", Kind.TEXT),
    Field("created", Kind.TIME),
    Field("started", Kind.TIME),
    Field("finished", Kind.TIME),
    Field("epochs", Kind.NUMBER),
    Field("seconds", Kind.NUMBER),
    Field("attempts", Kind.NUMBER),
    Field("tag", Kind.TEXT, "tags", "$[*]", many=True),
    Field("archived", Kind.FLAG),
    Field("dataset", Kind.TEXT, "spec", '$."dataset"."name"'),
    Field("device", Kind.CHOICE, choices=("auto", "cpu", "cuda")),
)
_ALIASES = {
    "person": "owner",
    "tags": "tag",
    "job_id": "id",
    "study_id": "study",
    "created_at": "created",
    "started_at": "started",
    "finished_at": "finished",
}
#: What training has decided, besides metrics.
_OUTCOMES = ("status", "reason", "epochs", "seconds", "attempts")
#: `best.val_accuracy` is the metric best_val_accuracy; the names of evaluations end in `test`, too.
_FAMILY = re.compile(r"(best|final|last|test|stop_epoch|mc_dropout|shifted)[._][a-z0-9_.]+")
_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_KINDS = {"number": Kind.NUMBER, "text": Kind.TEXT, "flag": Kind.FLAG}
_USUAL_METRICS = (
    "best.epoch", "best.val_accuracy", "best.val_loss", "test.accuracy", "test.loss",
    "best_epoch", "best_val_accuracy", "best_val_loss", "test_accuracy", "test_loss",
)  # fmt: skip
MOST_LISTED = 15


def find_field(name: str, position: int = 0) -> Field:
    """The field of this name. Raises BadQuery at `position`, with the name that may have been meant."""
    fields = known_fields()
    if found := fields.get(_ALIASES.get(name, name)):
        return found
    if name.startswith("metrics."):
        return metric_field(name.removeprefix("metrics."), position)
    if _FAMILY.fullmatch(name):
        return metric_field(name.replace(".", "_"), position)
    raise BadQuery(f"there is no field {name[:60]!r}; {_suggestion(name, fields)}", position)


def metric_field(name: str, position: int = 0) -> Field:
    """A metric, whether any job has it or not: evaluations name theirs. Raises BadQuery."""
    if not _METRIC.fullmatch(name):
        detail = f"a metric's name is a letter, then letters, digits and _, but got {name[:60]!r}"
        raise BadQuery(detail, position)
    return Field(name, Kind.NUMBER, "metrics", f'$."{name}"')


def is_outcome(name: str) -> bool:
    """Whether its values follow from how the training went."""
    try:
        field = find_field(name)
    except BadQuery:
        return False
    return field.place == "metrics" or field.name in _OUTCOMES


@cache
def known_fields() -> dict[str, Field]:
    """All but the metrics; a job's columns before values of the same name in its spec."""
    spec = (
        Field(
            one.name,
            Kind.CHOICE if one.choices else _KINDS[one.type],
            "spec",
            one.path,
            one.many,
            one.choices,
        )
        for one in spec_fields().values()
    )
    # The later one wins: `seed` means the job's own column, which needs no search in the document.
    return {field.name: field for field in (*spec, *_COLUMNS)}


def meant(word: str, known: Iterable[str]) -> str | None:
    """The known word that this one is most like, or None."""
    by_lower = {one.lower(): one for one in known}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def _suggestion(name: str, known: Iterable[str]) -> str:
    inside = sorted(one for one in known if one.startswith(f"{name}."))
    if f"{name}.kind" in inside:
        return f"did you mean {name}.kind? There are {listed(inside, MOST_LISTED)}"
    if inside:
        return f"there are {listed(inside, MOST_LISTED)}"
    ends = sorted(one for one in known if one.endswith(f".{name}"))
    close = " or ".join(ends[:3]) or meant(name, [*known, *_ALIASES, *_USUAL_METRICS])
    if close:
        return f"did you mean {close}?"
    columns = ", ".join(field.name for field in _COLUMNS)
    return (
        f"fields are values of the spec like norm.kind and optimizer.lr, {columns}, and metrics like "
        "best.val_accuracy, test_accuracy and metrics.NAME"
    )
