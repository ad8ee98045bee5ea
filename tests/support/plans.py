"""What PostgreSQL does for the statements of a test: their plans, and the rows that they read."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, event

Plan = list[Mapping[str, Any]]

#: Tables that grow with every job there ever was.
GROWING = {"jobs", "attempts", "epochs", "transitions", "checkpoints", "mirrored"}


@contextmanager
def explaining(engine: Engine) -> Iterator[tuple[list[Plan], list[Plan]]]:
    """The nodes of the plan of each statement that is executed meanwhile, with the rows that they yielded; and
    those of its plan for any values."""
    plans: list[Plan] = []
    for_any_values: list[Plan] = []

    def explain(
        connection: Connection, cursor: Any, sql: str, parameters: Any, context: Any, many: bool
    ) -> None:
        # Just before it is executed, when it finds what it will find; then undone.
        beside = connection.connection.cursor()
        beside.execute("SAVEPOINT explained")
        beside.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        (answer,) = beside.fetchone() or ()
        beside.execute("ROLLBACK TO SAVEPOINT explained")
        plans.append(list(nodes(answer[0]["Plan"])))
        # Once it has been prepared a statement may be planned for any values instead of these.
        beside.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(sql, parameters)}")
        (answer,) = beside.fetchone() or ()
        for_any_values.append(list(nodes(answer[0]["Plan"])))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield plans, for_any_values
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def numbered(sql: str, parameters: Mapping[str, Any]) -> str:
    """With $1 for the first parameter, as PostgreSQL wants it, and the types that psycopg would send."""
    types = {float: "::float8", timedelta: "::interval", datetime: "::timestamptz"}
    numbers = {name: f"${number}" for number, name in enumerate(parameters, start=1)}
    return re.sub(
        r"%\((\w+)\)s",
        lambda found: numbers[found[1]] + types.get(type(parameters[found[1]]), ""),
        sql,
    )


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_read(plan: Plan) -> float:
    """Rows of growing tables, those that a filter removed included."""
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in plan
        if node.get("Relation Name") in GROWING
    )
