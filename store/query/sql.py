"""The values of a field, as SQL over jobs joined with their study, project and owner.

No text of a person becomes SQL: paths are made of names that the spec's schema has or that are checked
letters, and both paths and values are bound.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from sqlalchemy import (
    ColumnElement,
    Double,
    Text,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from store.catalog import is_archived
from store.db import Attempt, Epoch, Job, Project, Study, User
from store.query.expressions import Operator
from store.query.fields import Field, Kind
from store.query.terms import Span, Typed

_IN_PATH: dict[Operator, str] = {"=": "==", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def is_there(field: Field) -> ColumnElement[bool]:
    """Whether there is any value; never NULL."""
    # In jsonpath's lax mode a path that leads nowhere yields nothing instead of an error: a job whose model
    # has no `width` is simply not found by `model.width`.
    if field.path:
        return _path_exists(field, "@ != null", None)
    return _column(field).is_not(None)


def matches(field: Field, operator: Operator, values: Sequence[Typed]) -> ColumnElement[bool]:
    """Whether `operator` holds between any of the field's values and any of `values`; never NULL."""
    if field.path:
        # jsonpath compares each value found with each of `$values`. Values of different types are never equal
        # there, and no error either: a text that looks like a number matches no number.
        return _path_exists(field, f"@ {_IN_PATH[operator]} $values[*]", list(values))
    return _false_if_null(or_(*(_compare(field, operator, value) for value in values)))


def contains(field: Field, part: str) -> ColumnElement[bool]:
    """Whether any of the field's texts has this part, in any case; never NULL."""
    if not field.path:
        return _false_if_null(_column(field).icontains(part, autoescape=True))
    # A row for each value, since jsonpath itself has no "contains" that ignores case: `like_regex` would read
    # the person's text as a pattern.
    value = func.jsonb_path_query(_document(field), _path(field.path), type_=JSONB).column_valued()
    matching = _as_text(value).icontains(part, autoescape=True)
    return exists(select(literal_column("1")).where(matching))


def value_of(field: Field) -> ColumnElement[Any]:
    """As it is shown: a list where there may be many, NULL where there is none."""
    if not field.path:
        return _column(field)
    query = func.jsonb_path_query_array if field.many else func.jsonb_path_query_first
    return query(_document(field), _path(f"{field.path} ? (@ != null)"), type_=JSONB)


def key_of(field: Field) -> ColumnElement[Any]:
    """What rows are sorted by: the first of many; a float, a text or a time, NULL where there is none."""
    match field.kind:
        case Kind.NUMBER if field.path:
            # Only numbers: a metric that isn't finite is null in the document, and a spec may have a word in
            # the place of a number. Either would make the cast to double fail, and with it the whole list.
            number = _path(f'{field.path} ? (@.type() == "number")')
            first = func.jsonb_path_query_first(_document(field), number, type_=JSONB)
            return cast(first, Double)
        case Kind.NUMBER:
            return cast(_column(field), Double)
        case Kind.TIME:
            return _column(field)
        case Kind.TEXT | Kind.CHOICE | Kind.FLAG if field.path:
            there = _path(f"{field.path} ? (@ != null)")
            return _as_text(func.jsonb_path_query_first(_document(field), there, type_=JSONB))
        case Kind.TEXT | Kind.CHOICE | Kind.FLAG:
            return cast(_column(field), Text)
        case _:
            assert_never(field.kind)


def trained_epochs() -> ColumnElement[int]:
    """Evaluation periods of the job."""
    return select(func.count()).where(Epoch.job_id == Job.id).scalar_subquery()


def best_seconds() -> ColumnElement[float]:
    """Of training and validation, until the epoch whose weights were kept."""
    best_epoch = Job.metrics["best_epoch"].as_float()
    until = and_(Epoch.job_id == Job.id, Epoch.epoch <= best_epoch)
    return select(func.sum(Epoch.seconds)).where(until).scalar_subquery()


def environment() -> ColumnElement[Any]:
    """Of the last attempt that started to train."""
    return (
        select(Attempt.environment)
        .where(Attempt.job_id == Job.id, Attempt.environment.is_not(None))
        .order_by(Attempt.number.desc())
        .limit(1)
        .scalar_subquery()
    )


def _column(field: Field) -> ColumnElement[Any]:
    match field.name:
        case "id":
            return Job.id.expression
        case "study":
            return Study.name.expression
        case "project":
            return Project.name.expression
        case "owner":
            return User.name.expression
        case "created" | "started" | "finished":
            time: ColumnElement[Any] = getattr(Job, f"{field.name}_at").expression
            return time
        case "epochs":
            return trained_epochs()
        case "seconds":
            return Job.seconds_used.expression
        case "attempts":
            return Job.attempt.expression
        case "archived":
            return is_archived()
        case "device":
            # What the study or the job was fixed to when it first started; until then what it asked for.
            return func.coalesce(Job.numerics["device"].astext, Job.device)
        case _:
            column: ColumnElement[Any] = getattr(Job, field.name).expression
            return column


def _compare(field: Field, operator: Operator, value: Typed) -> ColumnElement[bool]:
    column = _column(field)
    if isinstance(value, Span):
        return _compare_time(column, operator, value)
    if field.name == "study":
        return _is_study(str(value))
    if field.kind is Kind.NUMBER:
        # So that a number beyond the column's type is compared, not refused.
        column, bound = cast(column, Double), literal(float(value), Double)
    else:
        bound = literal(value)
    compared: ColumnElement[bool] = column.op(operator, is_comparison=True)(bound)
    return compared


def _compare_time(
    column: ColumnElement[Any], operator: Operator, span: Span
) -> ColumnElement[bool]:
    match operator:
        case "=":
            return and_(column >= span.start, column < span.end)
        case "<":
            return column < span.start
        case "<=":
            return column < span.end
        case ">":
            return column >= span.end
        case ">=":
            return column >= span.start
        case _:
            raise AssertionError(operator)


def _is_study(text: str) -> ColumnElement[bool]:
    """By its name, or by its number: 3 or s3."""
    digits = text.removeprefix("s")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        # A study may be called "3", too; then both are found.
        return or_(Study.name == text, Job.study_id == int(digits))
    return Study.name == text


def _path_exists(field: Field, test: str, values: list[Typed] | None) -> ColumnElement[bool]:
    path = _path(f"{field.path} ? ({test})")
    # Bound as a variable of the path, never written into it: whatever a person types stays a value.
    variables = cast(literal({"values": values or []}, JSONB), JSONB)
    # The last argument makes it silent: what would be an error of the path for one job's document counts as
    # not found, and doesn't fail the query for all jobs.
    return _false_if_null(func.jsonb_path_exists(_document(field), path, variables, true()))


def _document(field: Field) -> ColumnElement[Any]:
    match field.place:
        case "spec":
            return Job.spec.expression
        case "metrics":
            return Job.metrics.expression
        case "tags":
            none = cast(literal([], JSONB), JSONB)
            concat: ColumnElement[Any] = Job.tags.op("||", return_type=JSONB())(
                func.coalesce(Study.tags, none)
            )
            return concat
        case "column":
            raise AssertionError(field)
        case _:
            assert_never(field.place)


def _path(text: str) -> ColumnElement[Any]:
    return cast(literal(text, Text), JSONPATH)


def _as_text(value: Any) -> ColumnElement[Any]:
    # The empty path names the value itself; `#>>` gives a string without the quotes that a cast of jsonb to
    # text would leave around it.
    text: ColumnElement[Any] = value.op("#>>", return_type=Text())(literal_column("'{}'"))
    return text


def _false_if_null(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # `not` turns true and false around but leaves NULL as it is, and a row whose condition is NULL is in
    # neither a query nor its negation. So no condition may be NULL: see `store.query.compile`.
    return func.coalesce(condition, false())
