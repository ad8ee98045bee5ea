"""Values of results as they stand in a table, and the query that finds them again."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.web.render import write_time
from store.db import BadQuery
from store.query import Kind, find_field
from store.query import write_value as quote_value
from studies.stats import amount


def find_metric(name: str) -> str | None:
    """The metric that the column is of."""
    try:
        field = find_field(name)
    except BadQuery:
        return None
    return field.name if field.place == "metrics" else None


def is_number(name: str) -> bool:
    """Whether what stands in the column is aligned to the right."""
    try:
        return find_field(name).kind is Kind.NUMBER
    except BadQuery:
        return False


def write_cell(row: Mapping[str, Any], name: str, metric: str | None) -> str:
    value = row[name]
    if metric is None:
        return f"{value:.1f}" if name.endswith("seconds") and value else write_value(value)
    return row["non_finite"].get(metric) or write_amount(value, metric)


def write_amount(value: Any, metric: str) -> str:
    if not isinstance(value, int | float):
        return write_value(value)
    return amount(value, metric)


def write_value(value: Any) -> str:
    match value:
        case None | []:
            return "–"
        case datetime():
            return write_time(value)
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case list() if not any(isinstance(one, list | dict) for one in value):
            return ", ".join(map(write_value, value))
        case dict() if not any(isinstance(one, list | dict) for one in value.values()):
            return ", ".join(f"{name} {write_value(one)}" for name, one in value.items())
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def narrow_query(query: str, by: Mapping[str, Any]) -> str | None:
    """The query of one group's jobs; None where the language has no words for them."""
    conditions = [f"({query})"] if query else []
    for name, value in by.items():
        try:
            field = find_field(name)
        except BadQuery:
            return None
        if value is None or value == []:
            conditions.append(f"{name} = null")
        elif field.many or field.kind is Kind.TIME or not isinstance(value, str | int | float):
            return None
        else:
            conditions.append(f"{name} = {quote_value(value)}")
    return " and ".join(conditions)
