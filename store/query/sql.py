"""The values of a field, as SQL over results joined with their job, study, project and owner.

The usual fields have a column in `results`; all others are read from the job's documents, which are wide.
No text of a person becomes SQL: paths are made of names that the spec's schema has or that are checked
letters, and both paths and values are bound.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from sqlalchemy import (
    ColumnElement,
    Double,
    Text,
    and_,
    case,
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
from sqlalchemy.orm import aliased

from store.db import Attempt, Epoch, Job, Project, Result, Study, User
from store.query.expressions import Operator
from store.query.fields import Field, Kind
from store.query.terms import Span, Typed

_IN_PATH: dict[Operator, str] = {"=": "==", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

#: Fields of the spec with a column of their own. Each has values of one JSON type: a float8 tells a number
#: from a share only where no field may be either.
_SPEC_COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "dataset": Result.dataset_name.expression,
    **{
        name: getattr(Result, name.replace(".", "_")).expression
        for name in (
            "dataset.name", "dataset.train_size", "dataset.label_noise", "task.kind",
            "model.name", "model.width", "model.depth", "norm.kind", "weights.kind",
            "regularization.kind", "augmentation.kind", "optimizer.kind", "optimizer.lr",
            "optimizer.momentum", "schedule.kind", "training.batch_size", "training.epochs",
            "early_stopping.kind",
        )
    },
}  # fmt: skip
_METRIC_COLUMNS: Mapping[str, ColumnElement[Any]] = {
    name: getattr(Result, name).expression
    for name in ("best_val_accuracy", "best_val_loss", "best_epoch", "test_accuracy", "test_loss")
}
#: Beyond it a float no longer tells every integer from the next.
_MOST_EXACT = 2**53


def is_there(field: Field) -> ColumnElement[bool]:
    """Whether there is any value; never NULL."""
    if (column := column_of(field)) is not None:
        return column.is_not(None)
    # In jsonpath's lax mode a path that leads nowhere yields nothing instead of an error: a job whose model
    # has no `width` is simply not found by `model.width`.
    return _path_exists(field, "@ != null", None)


def matches(field: Field, operator: Operator, values: Sequence[Typed]) -> ColumnElement[bool]:
    """Whether `operator` holds between any of the field's values and any of `values`; never NULL."""
    column = column_of(field)
    if column is not None and not (field.path and any(map(_is_inexact, values))):
        # Not `coalesce(…, false)`: with a plain comparison the planner can use indexes and statistics.
        compared = (_compare(field, column, operator, value) for value in values)
        return and_(column.is_not(None), or_(false(), *compared))
    # jsonpath compares each value found with each of `$values`. Values of different types are never equal
    # there, and no error either: a text that looks like a number matches no number.
    return _path_exists(field, f"@ {_IN_PATH[operator]} $values[*]", list(values))


def contains(field: Field, part: str) -> ColumnElement[bool]:
    """Whether any of the field's texts has this part, in any case; never NULL."""
    if (column := column_of(field)) is not None:
        return _false_if_null(column.icontains(part, autoescape=True))
    # A row for each value, since jsonpath itself has no "contains" that ignores case: `like_regex` would read
    # the person's text as a pattern.
    document, path = _document(field)
    value = func.jsonb_path_query(document, _path(path), type_=JSONB).column_valued()
    matching = _as_text(value).icontains(part, autoescape=True)
    return exists(select(literal_column("1")).where(matching))


def value_of(field: Field) -> ColumnElement[Any]:
    """As it is shown: a list where there may be many, NULL where there is none."""
    if not field.path:
        return _job_column(field)
    # Also where it has a column: 1 and 1.0 are shown as they were written, and a float8 can't tell them apart.
    query = func.jsonb_path_query_array if field.many else func.jsonb_path_query_first
    document, path = _document(field)
    return query(document, _path(f"{path} ? (@ != null)"), type_=JSONB)


def key_of(field: Field) -> ColumnElement[Any]:
    """What rows are sorted by: the first of many; a float, a text or a time, NULL where there is none."""
    column = column_of(field)
    match field.kind:
        case Kind.NUMBER if column is not None:
            return column if isinstance(column.type, Double) else cast(column, Double)
        case Kind.NUMBER:
            # Only numbers: a metric that isn't finite is null in the document, and a spec may have a word in
            # the place of a number. Either would make the cast to double fail, and with it the whole list.
            document, path = _document(field)
            number = _path(f'{path} ? (@.type() == "number")')
            return cast(func.jsonb_path_query_first(document, number, type_=JSONB), Double)
        case Kind.TIME:
            return _job_column(field)
        case Kind.TEXT | Kind.CHOICE | Kind.FLAG if column is not None:
            return column if isinstance(column.type, Text) else cast(column, Text)
        case Kind.TEXT | Kind.CHOICE | Kind.FLAG:
            document, path = _document(field)
            there = _path(f"{path} ? (@ != null)")
            return _as_text(func.jsonb_path_query_first(document, there, type_=JSONB))
        case _:
            assert_never(field.kind)


def column_of(field: Field) -> ColumnElement[Any] | None:
    """The column that holds the field's only value: a job's own, or that of a usual field. Else None."""
    if field.many:
        return None
    match field.place:
        case "column":
            return _job_column(field)
        case "spec":
            return _SPEC_COLUMNS.get(field.name)
        case "metrics":
            return _METRIC_COLUMNS.get(field.name)
        case "tags":
            return None
        case _:
            assert_never(field.place)


def chance_of(word: str) -> ColumnElement[Any]:
    """What guessing scores by `accuracy`, `loss` or another metric that ends in this word; NULL if unknown."""
    match word:
        case "accuracy":
            return Result.chance_accuracy.expression
        case "loss":
            return Result.chance_loss.expression
    fact = Job.facts[f"chance_{word}"]
    return case((func.jsonb_typeof(fact) == "number", cast(fact, Double)))


def is_archived() -> ColumnElement[bool]:
    """A job itself or with its study."""
    return or_(Result.archived, Study.archived_at.is_not(None))


def trained_epochs() -> ColumnElement[int]:
    """Evaluation periods of the job."""
    return select(func.count()).where(Epoch.job_id == Result.job_id).scalar_subquery()


def best_seconds() -> ColumnElement[float]:
    """Of training and validation, until the epoch whose weights were kept."""
    until = and_(Epoch.job_id == Result.job_id, Epoch.epoch <= Result.best_epoch)
    return select(func.sum(Epoch.seconds)).where(until).scalar_subquery()


def environment() -> ColumnElement[Any]:
    """Of the last attempt that started to train; of an answered job, of the one that answers it."""
    job = aliased(Job)
    reused = select(job.reused_from).where(job.id == Result.job_id).correlate(Result)
    # The table: that one may since be in a project that is hidden from the reader, and a comparison is the same for all.
    attempts = Attempt.__table__.c
    return (
        select(attempts.environment)
        .where(
            attempts.job_id == func.coalesce(reused.scalar_subquery(), Result.job_id),
            attempts.environment.is_not(None),
        )
        .order_by(attempts.number.desc())
        .limit(1)
        .scalar_subquery()
    )


def _job_column(field: Field) -> ColumnElement[Any]:
    match field.name:
        case "id":
            return Result.job_id.expression
        case "study":
            return Study.name.expression
        case "project":
            return Project.name.expression
        case "owner":
            return User.name.expression
        case "created" | "started" | "finished":
            time: ColumnElement[Any] = getattr(Result, f"{field.name}_at").expression
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
            column: ColumnElement[Any] = getattr(Result, field.name).expression
            return column


def _is_inexact(value: Typed) -> bool:
    return isinstance(value, int) and abs(value) > _MOST_EXACT


def _compare(
    field: Field, column: ColumnElement[Any], operator: Operator, value: Typed
) -> ColumnElement[bool]:
    if isinstance(value, Span):
        return _compare_time(column, operator, value)
    if field.name == "study":
        return _is_study(str(value))
    if field.kind is Kind.NUMBER:
        # So that a number beyond the column's type is compared, not refused.
        column = column if isinstance(column.type, Double) else cast(column, Double)
        bound = literal(float(value), Double)
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
        return or_(Study.name == text, Result.study_id == int(digits))
    return Study.name == text


def _path_exists(field: Field, test: str, values: list[Typed] | None) -> ColumnElement[bool]:
    document, path = _document(field)
    # Bound as a variable of the path, never written into it: whatever a person types stays a value.
    variables = cast(literal({"values": values or []}, JSONB), JSONB)
    # The last argument makes it silent: what would be an error of the path for one job's document counts as
    # not found, and doesn't fail the query for all jobs.
    test_path = _path(f"{path} ? ({test})")
    return _false_if_null(func.jsonb_path_exists(document, test_path, variables, true()))


def _document(field: Field) -> tuple[ColumnElement[Any], str]:
    """Where the field's values are, and the path to them."""
    match field.place:
        case "spec":
            # A list of a few words in a column of its own, or the whole spec.
            if field.many and (column := _SPEC_COLUMNS.get(field.name)) is not None:
                return column, "$[*]"
            return Job.spec.expression, field.path
        case "metrics":
            return Job.metrics.expression, field.path
        case "tags":
            none = cast(literal([], JSONB), JSONB)
            concat: ColumnElement[Any] = Result.tags.op("||", return_type=JSONB())(
                func.coalesce(Study.tags, none)
            )
            return concat, field.path
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
