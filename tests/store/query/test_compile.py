"""Queries over real rows: every operator on every kind of field, what is missing, order, hostile text."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Select, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session, sessionmaker

from store.db.errors import BadCursor, BadQuery
from store.db.models import Job
from store.query.compile import compile_query, point_at
from store.query.expressions import write_value
from store.query.fields import Kind, known_fields
from store.results import result_rows
from store.results.columns import parse_columns
from store.results.ordering import Order, parse_order
from tests.support.factories import make_cells, make_job, make_study, make_user, set_job

Sessions = sessionmaker[Session]
DAY = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    with sessions.begin() as session:
        yield session


@pytest.fixture
def found(session: Session) -> Callable[[str], set[str]]:
    """Plants five jobs; the names of those that a query finds."""
    plant(session)
    return lambda query: {
        row["name"] for row in result_rows.rows(session, condition=compile_query(query)).items
    }


def plant(session: Session) -> None:
    ada, bob = make_user(session, "ada"), make_user(session, "bob")
    group = {"kind": "group", "groups": 8}
    dropout, decay = {"kind": "dropout", "p": 0.3}, {"kind": "weight_decay", "value": 0.001}
    a = make_job(session, ada, name="a", norm=group, optimizer={"kind": "sgd", "lr": 0.1})
    b = make_job(session, ada, name="b", norm={"kind": "batch"}, regularization=[dropout, decay])
    c = make_job(session, bob, name="c", project="Shelf", regularization=[decay], seed=3)
    d = make_job(session, bob, name="d", model={"name": "mlp", "hidden": [8, 64]}, seed=7)
    study = make_study(session, bob, make_cells(("layer",), (0,)))
    [e] = session.scalars(select(Job).where(Job.study_id == study.id))
    study.tags, d.tags, e.tags = ["paper"], ["Old", "paper 2"], ["mine"]
    a.metrics = {"best_val_accuracy": 0.95, "test_accuracy": 0.9, "best_epoch": 4.0}
    b.metrics = {"best_val_accuracy": 0.5, "test_accuracy": None, "odd_one": 1.0}
    b.non_finite = {"test_accuracy": "nan"}
    for job, more in (
        (a, {"created_at": DAY, "status": "succeeded", "reason": "completed", "finished_at": DAY}),
        (b, {"created_at": DAY + timedelta(hours=23, minutes=59), "seconds_used": 1.5}),
        (c, {"created_at": DAY + timedelta(days=1), "attempt": 2, "numerics": {"device": "cuda"}}),
        (d, {"created_at": DAY - timedelta(microseconds=1), "variant": "wide"}),
        (e, {"created_at": DAY + timedelta(days=9), "name": "e"}),
    ):
        set_job(session, job.id, **more)
    session.flush()


QUERIES = [
    # values of the spec
    ("norm.kind = group", "a"),
    ("norm.kind != group", "bcde"),
    ("norm.kind in (group, batch)", "ab"),
    ("norm.kind not in (group, batch)", "cde"),
    ("norm.kind ~ RO", "a"),
    ("norm.groups = 8", "a"),
    ("norm.groups = 8.0", "a"),
    ("norm.groups != 4", "a"),
    ("norm.groups = null", "bcde"),
    ("norm.groups != null", "a"),
    ("optimizer.lr >= 0.1", "a"),
    ("optimizer.lr < 0.1", "bcde"),
    ("optimizer.nesterov = false", "abcde"),
    ("optimizer.nesterov != false", ""),
    ("dataset.train_size = null", "abcde"),
    ("model.name = mlp", "abcde"),
    # of a list any element counts
    ("model.hidden = 64", "d"),
    ("model.hidden != 64", "abce"),
    ("model.hidden > 8", "d"),
    ("regularization.kind = dropout", "b"),
    ("regularization.kind != dropout", "c"),
    ("regularization.kind not in (dropout)", "c"),
    ("not regularization.kind = dropout", "acde"),
    ("regularization.kind = null", "ade"),
    ("regularization.dropout.p > 0.2", "b"),
    ("regularization.weight_decay.value = 1e-3", "bc"),
    ("regularization.p > 0.2", "b"),
    ("evaluations.split = test", "abcde"),
    # a job's columns
    ("status = succeeded", "a"),
    ("status != succeeded", "bcde"),
    ("status ~ ucc", "a"),
    ("reason = null", "bcde"),
    ("reason != completed", ""),
    ("name in (a, c)", "ac"),
    ("variant = wide", "d"),
    ("variant != wide", "e"),
    ("variant ~ ID", "d"),
    ("not variant = wide", "abce"),
    ("not variant ~ id", "abce"),
    ("not seconds > 1 and not finished < 2020-01-01", "acde"),
    ("seed >= 3", "cd"),
    ("seed in (3, 7)", "cd"),
    ("seed > 1e30", ""),
    ("seed < 99999999999999999999", "abcde"),
    ("project = Shelf", "c"),
    ("project ~ shelf", "c"),
    ("owner = ada", "ab"),
    ("person = ada", "ab"),
    ("dataset = digits", "abcde"),
    ("device = cuda", "c"),
    ("device = auto", "abde"),
    ("attempts = 2", "c"),
    ("seconds > 1", "b"),
    ("epochs = 0", "abcde"),
    ("study = norms", "e"),
    ("study = null", "abcd"),
    ("study != other", "e"),
    ("study ~ NOR", "e"),
    ("tag = paper", "e"),
    ("tag = mine", "e"),
    ("tag ~ PAPER", "de"),
    ("tag != paper", "d"),
    ("tag = null", "abc"),
    ("archived = false", "abcde"),
    ("archived = true", ""),
    # times: a date is its whole day
    ("created = 2026-11-26", "ab"),
    ("created != 2026-11-26", "cde"),
    ("created > 2026-11-26", "ce"),
    ("created >= 2026-11-26", "abce"),
    ("created < 2026-11-26", "d"),
    ("created <= 2026-11-26", "abd"),
    ("created in (2026-11-26, 2026-11-27)", "abc"),
    ("created = 2026-11-26T00:00:00Z", "a"),
    ("created = '2026-11-26T01:00+01:00'", "a"),
    ("created > 2026-11-26T23:00:00", "bce"),
    ("finished = null", "bcde"),
    ("finished > 2020-01-01", "a"),
    ("started != 2026-11-26", ""),
    # metrics
    ("best.val_accuracy > 0.9", "a"),
    ("best_val_accuracy <= 0.5", "b"),
    ("metrics.best_val_accuracy = 0.95", "a"),
    ("best.epoch = 4", "a"),
    ("metrics.odd_one = 1", "b"),
    ("metrics.nothing > 0", ""),
    ("test.accuracy > 0", "a"),
    ("test.accuracy < 2", "a"),
    ("test.accuracy != 0.5", "a"),
    ("test.accuracy in (0.9, 1)", "a"),
    ("test.accuracy not in (1)", "a"),
    ("test.accuracy = null", "bcde"),
    ("not test.accuracy > 0", "bcde"),
    ("not test.accuracy != 0.5", "bcde"),
    # logic
    ("norm.kind=group and optimizer.lr>=0.1 and best.val_accuracy>0.9", "a"),
    ("name = a or name = b and seed = 9", "a"),
    ("(name = a or name = b) and seed = 0", "ab"),
    ("NOT (name = a OR name = b)", "cde"),
]


def test_a_query_finds(found: Callable[[str], set[str]]) -> None:
    for query, names in QUERIES:
        assert found(query) == set(names), query


def test_a_number_names_a_job_or_a_study(
    session: Session, found: Callable[[str], set[str]]
) -> None:
    rows = {row["name"]: row for row in result_rows.rows(session).items}
    job, study = rows["b"]["job_id"], rows["e"]["study_id"]
    assert found(f"id = {job}") == found(f"id = j{job}") == found(f"id in (j{job})") == {"b"}
    assert found(f"study = {study}") == found(f"study = s{study}") == {"e"}
    assert found(f"study != s{study}") == set()
    assert found(f"study in (s{study}, other)") == {"e"}


def test_what_is_archived_is_left_out_unless_it_is_spoken_of(
    session: Session, found: Callable[[str], set[str]]
) -> None:
    [one] = session.scalars(select(Job).where(Job.name == "a"))
    one.archived_at = DAY
    [other] = session.scalars(select(Job).where(Job.name == "e"))
    assert other.study_id is not None
    from store.db.models import Study

    session.get_one(Study, other.study_id).archived_at = DAY
    session.flush()
    assert found("seed >= 0") == set("bcd")
    assert found("seed >= 0 and (archived = true or archived = false)") == set("abcde")
    assert found("archived = true") == set("ae")
    default = result_rows.rows(session, condition=compile_query(None)).items
    assert {row["name"] for row in default} == set("bcd")


@pytest.mark.parametrize(
    ("query", "position", "said"),
    [
        ("nrom.kind = group", 0, "did you mean norm.kind?"),
        ("a = 1 or norm = group", 0, "there is no field 'a'"),
        ("seed = 1 or norm = group", 12, "did you mean norm.kind?"),
        ("lr > 1", 0, "did you mean optimizer.lr?"),
        ("foo = 1", 0, "metrics.NAME"),
        ("metrics.a.b = 1", 0, "a metric's name is"),
        ("norm.kind=gruop", 10, "did you mean group?"),
        ("norm.kind in (batch, gruop)", 21, "did you mean group?"),
        ("status=sleeping", 7, "queued, running, paused, succeeded, failed, cancelled"),
        ("status = 1", 9, "is one of queued"),
        ("reason = done", 9, "early_stopped"),
        ("status > failed", 7, "which does not support >; use one of = != ~ in, not in"),
        (
            "optimizer.lr~x",
            12,
            "is a number, which does not support ~; use one of = != < <= > >= in, not in",
        ),
        ("optimizer.lr = fast", 15, "optimizer.lr is a number but got fast"),
        ("optimizer.lr = '0.1'", 15, 'is a number but got "0.1"'),
        ("optimizer.lr = true", 15, "but got true"),
        ("id = s3", 5, "id is a number but got s3"),
        ("optimizer.nesterov = 1", 21, "is true or false but got 1"),
        ("optimizer.nesterov < true", 19, "does not support <; use one of = !="),
        ("created>abc", 8, "write a date like 2026-11-26"),
        ("created > 2026", 10, "write a date"),
        ("created > 2026-02-30", 10, "2026-02-30 is not a valid time"),
        ("created > 2026-02-03T25:00", 10, "is not a valid time"),
        ("created = 9999-12-31", 10, "is not a valid time"),
        ("created ~ 2026", 8, "a time, which does not support ~"),
        ("name < b", 5, "name is text"),
        ("name = 1.50", 7, "write '1.5'"),
        ("name = true", 7, "write 'true'"),
        ("seed < null", 7, "null takes = and != alone"),
        ("seed in (1, null)", 12, "null takes = and != alone"),
        ("name ~ null", 7, "null takes = and != alone"),
        ("best.val_accuracy > high", 20, "is a number but got high"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_position(
    query: str, position: int, said: str
) -> None:
    with pytest.raises(BadQuery) as caught:
        compile_query(query)
    assert said in caught.value.detail
    assert caught.value.position == position


def test_the_place_of_an_error_is_pointed_at() -> None:
    error = BadQuery("wrong", 9)
    assert point_at("a = 1 or\nb = 2", error) == "wrong\n  b = 2\n  ^"
    long = "x" * 300
    assert point_at(long, BadQuery("wrong", 200)) == f"wrong\n  {'x' * 100}\n  {' ' * 70}^"
    assert point_at("a\t=", BadQuery("wrong", 3)) == "wrong\n  a =\n     ^"


HOSTILE = [
    "'; DROP TABLE jobs; --",
    '" or 1=1 /*',
    "*/ select 1 -- #",
    "100%",
    "a_b",
    "back\\slash",
    "\\",
    "%(name)s :name $1 {0} ?",
    '$.** ? (@ like_regex ".*")',
    '") || @ == $values[*] ? (',
    "snö ☃ 𝕏 \u202e \u0301",
    "line\nbreak\ttab\x01",
    "null",
    "true",
    "' \" \\' \\\"",
    "x" * 3000,
]


def test_hostile_text_is_found_literally_and_never_becomes_sql(session: Session) -> None:
    for name in (*HOSTILE, "axb", "100", "backslash", "plain"):
        job = make_job(session, name="planted")
        spec = {**job.spec, "model": {"name": name}}
        set_job(session, job.id, name=name, tags=[name], spec=spec)
    for text in HOSTILE:
        quoted = write_value(text) if text not in ("null", "true") else f"'{text}'"
        for field in ("name", "tag", "model.name"):
            for query, expected in (
                (f"{field} = {quoted}", {text}),
                (f"{field} in ({quoted})", {text}),
                (f"{field} ~ {quoted}", {one for one in HOSTILE if text in one}),
            ):
                statement = select(Job.name).where(compile_query(query))
                assert_without_text(statement, text, f"{field} = plain", query)
                rows = result_rows.rows(session, condition=compile_query(query)).items
                assert {row["name"] for row in rows} == expected, query


def assert_without_text(statement: Select[Any], text: str, plain: str, query: str) -> None:
    """The SQL is that of a harmless query of the same shape, byte for byte."""
    operator = query.split(" ")[1]
    harmless = (
        plain.replace("=", operator) if operator != "in" else plain.replace("= plain", "in (plain)")
    )
    same = select(Job.name).where(compile_query(harmless))
    assert sql(statement) == sql(same)
    assert len(text) < 2 or text in ("null", "true") or text not in sql(statement)


def sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=postgresql.dialect()))


def test_the_names_of_fields_are_bound_too() -> None:
    statement = select(Job.name).where(
        compile_query("metrics.some_metric > 0.25 and norm.groups = 3")
    )
    assert "some_metric" not in sql(statement)
    assert "groups" not in sql(statement)
    assert "0.25" not in sql(statement)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        compile_query(f"name = '{text}'")


def test_every_field_can_be_asked_for_sorted_by_and_shown(session: Session) -> None:
    plant(session)
    names = [*known_fields(), "best.val_accuracy"]
    values = {
        Kind.NUMBER: "0.5",
        Kind.TEXT: "'x'",
        Kind.FLAG: "true",
        Kind.TIME: "2026-11-26",
    }
    for number, name in enumerate(names):
        field = known_fields().get(name)
        value = (field.choices and field.choices[0]) or values[field.kind] if field else "1"
        whole = compile_query(f"{name} = {value} or {name} != {value} or {name} = null")
        # Falling and rising in turn.
        order = parse_order(f"-{name}" if number % 2 else name)
        columns = parse_columns(f"name,{name}")
        rows = result_rows.rows(session, condition=whole, order=order, columns=columns).items
        assert len(rows) == 5, name
        assert {row["name"] for row in rows} == set("abcde")


ORDERS = [
    ("best.val_accuracy", "baedc"),
    ("-best.val_accuracy", "abedc"),
    ("test_accuracy", "aedcb"),
    ("seed", "ebacd"),
    ("-seed", "dceba"),
    ("name", "abcde"),
    ("-created", "ecbad"),
    ("finished", "aedcb"),
    ("regularization.value", "cbeda"),
    ("variant", "edcba"),
    ("owner", "baedc"),
    ("-id", "edcba"),
]


def test_rows_are_sorted_and_a_walk_through_pages_sees_each_once(session: Session) -> None:
    plant(session)
    for order, names in ORDERS:
        by = parse_order(order)
        whole = [row["name"] for row in result_rows.rows(session, order=by).items]
        assert whole == list(names), order
        for limit in (1, 2, 3, 5):
            assert walk(session, by, limit) == whole, (order, limit)


def walk(session: Session, order: Order, limit: int) -> list[str]:
    """The names on all pages of this size, in order."""
    seen: list[str] = []
    cursor = None
    while True:
        page = result_rows.rows(session, order=order, limit=limit, cursor=cursor)
        seen += [row["name"] for row in page.items]
        assert all("sort_key" not in row for row in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return seen


def test_pages_of_equal_and_missing_values_are_walked_whole(session: Session) -> None:
    for number in range(40):
        job = make_job(session, name=f"{number}")
        value = None if number % 5 == 0 else 0.1 * (number % 4)
        metrics = {} if number % 7 == 0 else {"test_loss": value}
        set_job(session, job.id, metrics=metrics)
    for text in ("test_loss", "-test_loss"):
        order, seen, cursor = parse_order(text), [], None
        while True:
            page = result_rows.rows(
                session, order=order, limit=3, cursor=cursor, columns=parse_columns("id,test_loss")
            )
            seen += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        values = [row["test_loss"] for row in seen]
        there = [value for value in values if value is not None]
        assert len({row["id"] for row in seen}) == len(seen) == 40
        assert there == sorted(there, reverse=text.startswith("-"))
        assert values[len(there) :] == [None] * (40 - len(there))


def test_a_cursor_of_another_order_is_refused(session: Session) -> None:
    plant(session)
    order = parse_order("seed")
    cursor = result_rows.rows(session, order=order, limit=1).next_cursor
    plain = result_rows.rows(session, limit=1).next_cursor
    assert cursor is not None
    for other, wrong in (
        (parse_order("-seed"), cursor),
        (parse_order("name"), cursor),
        (parse_order("metrics.seed"), cursor),
        (None, cursor),
        (order, plain),
        *((order, garbage) for garbage in ("", "?", "é", "x" * 50, cursor[:-2], cursor + "AA")),
    ):
        with pytest.raises(BadCursor):
            result_rows.rows(session, order=other, limit=1, cursor=wrong)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "1",
        '["column:seed", 1]',
        '["column:seed", "x", 1]',
        '["column:seed", NaN, 1]',
        '["column:seed", 1e999, 1]',
        '["column:seed", true, 1]',
        '["column:seed", [1], 1]',
        '["column:seed", 1, true]',
        '["column:seed", 1, 0]',
        '["column:seed", 1, 9223372036854775808]',
        '["column:seed", 1, "1"]',
        '["column:created", "2026-11-26", 1]',
        '["column:created", 3, 1]',
        '["column:name", "\\u0000", 1]',
        '["column:name", "\\ud800", 1]',
        "[" * 1000,
    ],
)
def test_a_made_up_cursor_is_refused(session: Session, content: str) -> None:
    import base64

    cursor = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
    for name in ("seed", "created", "name"):
        with pytest.raises(BadCursor):
            result_rows.rows(session, order=parse_order(name), limit=1, cursor=cursor)


def test_chosen_columns_are_values_by_the_names_asked_for(session: Session) -> None:
    plant(session)
    wanted = "job_id, name,norm.kind,norm.groups,model.hidden,best.val_accuracy,regularization.kind,tag,study"
    rows = result_rows.rows(session, columns=parse_columns(wanted)).items
    by_name = {row.pop("name"): row for row in rows}
    assert by_name["a"] | {"job_id": 0} == {
        "job_id": 0,
        "norm.kind": "group",
        "norm.groups": 8,
        "model.hidden": [8],
        "best.val_accuracy": 0.95,
        "regularization.kind": [],
        "tag": [],
        "study": None,
    }
    assert by_name["b"]["regularization.kind"] == ["dropout", "weight_decay"]
    assert by_name["b"]["norm.groups"] is None
    assert (by_name["e"]["tag"], by_name["e"]["study"]) == (["mine", "paper"], "norms")


@pytest.mark.parametrize(
    ("text", "position"), [("", 0), ("name,,seed", 5), ("name, nrom.kind", 6), ("a", 0)]
)
def test_columns_that_are_none_are_refused(text: str, position: int) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_columns(text)
    assert caught.value.position == position


@pytest.mark.parametrize(("text", "position"), [("", 0), ("-", 1), (" -nrom", 2), ("seed,name", 0)])
def test_an_order_that_is_none_is_refused(text: str, position: int) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_order(text)
    assert caught.value.position == position
