"""Any query finds what a plain reading of it in Python finds, and no value or name makes the database fail."""

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, sessionmaker

from store.db.errors import BadQuery
from store.db.models import Job
from store.query.compile import condition
from store.query.expressions import (
    OPERATORS,
    And,
    Comparison,
    Expression,
    Membership,
    Not,
    Operator,
    Or,
    Term,
)
from store.query.fields import known_fields
from store.results import result_rows
from tests.store.query.test_compile import plant

Values = Callable[[Job], list[Any]]

numbers = st.sampled_from(
    [0, 1, 3, 4, 8, 64, 0.001, 0.05, 0.1, 0.3, 0.5, 0.9, 0.95, -1, 1e300, 10**30 * 1.0]
)
words = st.sampled_from(
    ["a", "b", "e", "wide", "group", "batch", "dropout", "weight_decay", "paper", "Old", "%", "_"]
)
flags = st.booleans()

#: Text fields of free text first: only these take any word.
TEXTS: dict[str, Values] = {
    "name": lambda job: [job.name],
    "variant": lambda job: [job.variant],
    "tag": lambda job: [*job.tags, *(job.study.tags if job.study else [])],
}
NUMBERS: dict[str, Values] = {
    "seed": lambda job: [job.seed],
    "attempts": lambda job: [job.attempt],
    "seconds": lambda job: [job.seconds_used],
    "norm.groups": lambda job: [job.spec["norm"].get("groups")],
    "optimizer.lr": lambda job: [job.spec["optimizer"]["lr"]],
    "model.hidden": lambda job: job.spec["model"]["hidden"],
    "regularization.p": lambda job: [part.get("p") for part in job.spec["regularization"]],
    "regularization.dropout.p": lambda job: [
        part["p"] for part in job.spec["regularization"] if part["kind"] == "dropout"
    ],
    "best.val_accuracy": lambda job: [job.metrics.get("best_val_accuracy")],
    "test_accuracy": lambda job: [job.metrics.get("test_accuracy")],
    "metrics.odd_one": lambda job: [job.metrics.get("odd_one")],
}
FLAGS: dict[str, Values] = {
    "archived": lambda job: [False],
    "optimizer.nesterov": lambda job: [job.spec["optimizer"]["nesterov"]],
}
FIELDS = TEXTS | NUMBERS | FLAGS
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "~": lambda one, part: part.lower() in one.lower(),
}  # fmt: skip


def leaves(
    fields: dict[str, Values], operators: tuple[Operator, ...], values: st.SearchStrategy[Any]
) -> st.SearchStrategy[Expression]:
    names, terms = st.sampled_from(sorted(fields)), values.map(Term)
    absent = st.builds(Comparison, names, st.sampled_from(["=", "!="]), st.just(Term(None)))
    several = st.lists(terms, min_size=1, max_size=3).map(tuple)
    return (
        st.builds(Comparison, names, st.sampled_from(operators), terms)
        | st.builds(Membership, names, several, st.booleans())
        | absent
    )


def branches(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    operands = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(And, operands) | st.builds(Or, operands)


expressions = st.recursive(
    leaves(TEXTS, ("=", "!=", "~"), words)
    | leaves(NUMBERS, ("=", "!=", "<", "<=", ">", ">="), numbers)
    | leaves(FLAGS, ("=", "!="), flags),
    branches,
    max_leaves=8,
)


def holds(expression: Expression, job: Job) -> bool:
    match expression:
        case Not(operand):
            return not holds(operand, job)
        case And(operands):
            return all(holds(one, job) for one in operands)
        case Or(operands):
            return any(holds(one, job) for one in operands)
        case Membership(name, terms, negated):
            there = values(name, job)
            found = any(value == term.value for value in there for term in terms)
            return bool(there) and not found if negated else found
        case Comparison(name, "=", Term(None)):
            return not values(name, job)
        case Comparison(name, "!=", Term(None)):
            return bool(values(name, job))
        case Comparison(name, "!=", term):
            there = values(name, job)
            return bool(there) and all(value != term.value for value in there)
        case Comparison(name, sign, term):
            return any(ORDER[sign](value, term.value) for value in values(name, job))


def values(name: str, job: Job) -> list[Any]:
    return [value for value in FIELDS[name](job) if value is not None]


def test_a_query_finds_what_it_says(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        plant(session)
        jobs = session.scalars(select(Job).options(joinedload(Job.study))).all()

        @settings(max_examples=100, deadline=None)
        @given(expressions)
        def agree(expression: Expression) -> None:
            found = result_rows.rows(session, condition=condition(expression)).items
            expected = {job.name for job in jobs if holds(expression, job)}
            assert {row["name"] for row in found} == expected

        agree()


anything = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
    | st.sampled_from(
        [
            "group",
            "auto",
            "2026-11-26",
            "0001-01-01",
            "9999-12-30T23:59Z",
            "s1",
            "s" + "9" * 19,
            "j1",
        ]
    )
)


def test_whatever_is_compared_is_answered_or_refused(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        plant(session)
        names = st.sampled_from([*known_fields(), "best.epoch", "metrics.x"])

        @settings(max_examples=150, deadline=None)
        @given(names, st.sampled_from(OPERATORS), anything)
        def answered(name: str, sign: Operator, value: Any) -> None:
            try:
                compiled = condition(Comparison(name, sign, Term(value)))
            except BadQuery:
                return
            assert len(result_rows.rows(session, condition=compiled).items) <= 5

        answered()
