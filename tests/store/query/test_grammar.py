"""The query language: what is written is read back, and every mistake has its place."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.db.errors import BadQuery
from store.query.expressions import (
    OPERATORS,
    And,
    Comparison,
    Expression,
    Membership,
    Not,
    Or,
    Term,
    fields_named,
    write_query,
)
from store.query.grammar import parse_query

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
values = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["and", "Not", "null", "1", "-1e3", "2026-11-26", "'", "\\", "a;--b", "x/*"])
)
terms = st.builds(Term, values)
names = st.from_regex(
    r"[A-Za-z_][A-Za-z0-9_]{0,5}(\.[A-Za-z0-9_]{1,5}){0,2}", fullmatch=True
).filter(lambda name: name.lower() not in ("and", "or", "not", "in"))
leaves = st.builds(Comparison, names, st.sampled_from(OPERATORS), terms) | st.builds(
    Membership, names, st.lists(terms, min_size=1, max_size=4).map(tuple), st.booleans()
)


def branches(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    operands = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.builds(Not, inner) | st.builds(And, operands) | st.builds(Or, operands)


@settings(deadline=None, max_examples=60)
@given(st.recursive(leaves, branches, max_leaves=20))
def test_what_is_written_is_read_back(expression: Expression) -> None:
    again = parse_query(write_query(expression))
    assert again == expression
    # True equals 1 in Python: the types are the same, too.
    assert repr(without_positions(again)) == repr(without_positions(expression))


@given(st.text(max_size=60) | st.text("ab.=<>!~()'\",\\ andorit1-", max_size=40))
def test_any_text_is_an_expression_or_is_refused_at_a_place_in_it(text: str) -> None:
    try:
        expression = parse_query(text)
    except BadQuery as error:
        place = error.position
    else:
        assert parse_query(write_query(expression)) == expression
        return
    assert 0 <= place <= len(text)


def without_positions(expression: Expression) -> Expression:
    match expression:
        case Comparison(name, operator, term):
            return Comparison(name, operator, Term(term.value))
        case Membership(name, found, negated):
            return Membership(name, tuple(Term(term.value) for term in found), negated)
        case Not(operand):
            return Not(without_positions(operand))
        case And(operands):
            return And(tuple(map(without_positions, operands)))
        case Or(operands):
            return Or(tuple(map(without_positions, operands)))


def is_(name: str, value: object) -> Comparison:
    return Comparison(name, "=", Term(value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("norm.kind=group", is_("norm.kind", "group")),
        ("norm.kind == group", is_("norm.kind", "group")),
        ("a = 1 OR b = 2 And c = 3", Or((is_("a", 1), And((is_("b", 2), is_("c", 3)))))),
        ("(a=1 or b=2) and c=3", And((Or((is_("a", 1), is_("b", 2))), is_("c", 3)))),
        ("not a=1 and b=2", And((Not(is_("a", 1)), is_("b", 2)))),
        ("NOT (not a=1)", Not(Not(is_("a", 1)))),
        ("a in (1, x, 'y z')", Membership("a", (Term(1), Term("x"), Term("y z")))),
        ("a not in (null)", Membership("a", (Term(None),), negated=True)),
        ("lr>=-1.5e-3", Comparison("lr", ">=", Term(-0.0015))),
        ("lr<.5", Comparison("lr", "<", Term(0.5))),
        ("a = 007", is_("a", "007")),
        ("a = 1.0.0", is_("a", "1.0.0")),
        ("a = TRUE", is_("a", True)),
        ("a = 'true'", is_("a", "true")),
        ("android = notin", is_("android", "notin")),
        ("created > 2026-11-26T10:00:00+02:00", Comparison("created", ">", Term("2026-11-26T10:00:00+02:00"))),
        (r"""a = 'it\'s' and b ~ "\\ \u00e9\n" """, And((is_("a", "it's"), Comparison("b", "~", Term("\\ é\n"))))),
        ("model.name = torchvision:resnet18", is_("model.name", "torchvision:resnet18")),
    ],
)  # fmt: skip
def test_a_query_means(text: str, expression: Expression) -> None:
    assert repr(without_positions(parse_query(text))) == repr(expression)


def test_every_part_knows_where_it_stands() -> None:
    both = parse_query("  a.b >= 'x' and cd not in (1,  2)")
    assert isinstance(both, And)
    first, second = both.operands
    assert isinstance(first, Comparison)
    assert isinstance(second, Membership)
    assert (first.position, first.operator_position, first.term.position) == (2, 6, 9)
    assert (second.position, [term.position for term in second.terms]) == (17, [28, 32])


def test_the_fields_of_a_query_are_named() -> None:
    assert fields_named(parse_query("not (a=1 or b.c in (2)) and a~x")) == {"a", "b.c"}


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 0, "empty"),
        ("  ", 0, "empty"),
        ("norm.kind", 9, "an operator (= != < <= > >= ~ in, not in) is missing"),
        ("norm.kind group", 10, "found 'group' but expected an operator"),
        ("norm.kind =", 11, "a value is missing"),
        ("norm.kind = )", 12, "found ')' but expected a value"),
        ("a = and", 4, "put it in quotes: 'and'"),
        ("= 1", 0, "found '=' but expected a field, 'not' or '('"),
        ("a = 1 and", 9, "a field, 'not' or '(' is missing"),
        ("a = 1 b = 2", 6, "found 'b' but expected 'and' or 'or'"),
        ("(a = 1", 6, "'and', 'or' or ')' is missing"),
        ("a = 1)", 5, "found ')' but expected 'and' or 'or'"),
        ("()", 1, "found ')' but expected a field"),
        ("not", 3, "a field, 'not' or '(' is missing"),
        ("a not b", 6, "found 'b' but expected 'in'"),
        ("a in 1", 5, "found '1' but expected '(' with a list of values"),
        ("a in ()", 6, "found ')' but expected a value"),
        ("a in (1", 7, "',' or ')' is missing"),
        ("a in (1 2)", 8, "found '2' but expected ',' or ')'"),
        ("a in (1,)", 8, "found ')' but expected a value"),
        ("a <> 1", 3, "found '>' but expected a value"),
        ("a ! 1", 2, "use = != < <= > >= ~"),
        ("a = 1; drop table jobs", 5, "unexpected character ';'"),
        ("a = 'x", 4, "end it with '"),
        ('a = "x\\"', 4, 'end it with "'),
        (r"a = 'x\q'", 6, r"\q is not an escape sequence"),
        (r"a = 'x\u12'", 6, r"\u is not an escape sequence"),
        (r"a = '\u0000'", 5, "NUL"),
        (r"a = '\ud800'", 5, "surrogate"),
        ("a = 'x\0'", 6, "NUL"),
        ("a = '\ud800'", 5, "surrogate"),
        ("a = 1e999", 4, "too large to be stored"),
        ("1a = 2", 0, "'1a' is not a field name"),
        ("a.'b' = 2", 2, "found \"'b'\" but expected an operator"),
        ("a = 1 and b. = 2", 10, "'b.' is not a field name"),
        ("a = '" + "x" * 4000, 4000, "at most 4000 characters but this one has 4005"),
        ("(" * 51 + "a=1" + ")" * 51, 50, "at most 50 parentheses and nots"),
        ("not " * 51 + "a=1", 200, "at most 50 parentheses and nots"),
        ("(not " * 25 + "((a=1" + ")" * 27, 125, "at most 50"),
        (" or ".join(["a=1"] * 201), 1401, "at most 200 values"),
        ("a in (" + ",".join("1" * 201) + ")", 405, "at most 200 values"),
    ],
)
def test_a_mistake_is_refused_with_its_position(text: str, position: int, said: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_query(text)
    assert caught.value.position == position
    assert said in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "(" * 50 + "a=1" + ")" * 50,
        "not " * 50 + "a=1",
        "(not " * 25 + "a=1" + ")" * 25,
        " or ".join(["a=1"] * 200),
        "a='" + "x" * 3996 + "'",
    ],
)
def test_the_limits_themselves_are_allowed(text: str) -> None:
    expression = parse_query(text)
    assert parse_query(write_query(expression)) == expression


@pytest.mark.parametrize("text", ["(" * 4000, "not " * 1000, "a=(" * 1000, "'" + "\\" * 3999])
def test_no_query_exhausts_the_stack(text: str) -> None:
    before = sys.getrecursionlimit()
    with pytest.raises(BadQuery):
        parse_query(text)
    assert sys.getrecursionlimit() == before
