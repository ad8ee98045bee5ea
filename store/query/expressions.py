"""The syntax tree of a query, as frozen values, and its text."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

Value: TypeAlias = str | int | float | bool | None
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=", "~")


@dataclass(frozen=True, slots=True)
class Term:
    """A value and its position. An integer is exact; any other number is a finite float."""

    value: Value
    position: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    field: str
    operator: Operator
    term: Term
    position: int = dataclasses.field(default=0, compare=False)
    operator_position: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Membership:
    """`field in (…)`, or `not in` if `negated`."""

    field: str
    terms: tuple[Term, ...]
    negated: bool = False
    position: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """Two operands or more."""

    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Two operands or more."""

    operands: tuple["Expression", ...]


Expression: TypeAlias = Comparison | Membership | Not | And | Or


#: How a bare word and a number look; the words that mean something else.
KEYWORDS = ("and", "or", "not", "in")
CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}
WORD = re.compile(r"[\w.:+\-/@%·]+")
NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def write_query(expression: Expression) -> str:
    """Text that is parsed into an equal expression."""
    match expression:
        case Comparison():
            return f"{expression.field} {expression.operator} {write_value(expression.term.value)}"
        case Membership():
            values = ", ".join(write_value(term.value) for term in expression.terms)
            return f"{expression.field} {'not in' if expression.negated else 'in'} ({values})"
        case Not():
            return f"not {_operand(expression.operand)}"
        case And():
            return " and ".join(map(_operand, expression.operands))
        case Or():
            return " or ".join(map(_operand, expression.operands))
        case _:
            assert_never(expression)


def write_value(value: Value) -> str:
    """The value as a literal of the language; a word is quoted where it would be read as something else."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            if WORD.fullmatch(value) and value.lower() not in (*KEYWORDS, *CONSTANTS):
                return f'"{value}"' if NUMBER.fullmatch(value) else value
            return '"' + "".join(_ESCAPES.get(character, character) for character in value) + '"'


def fields_named(expression: Expression) -> set[str]:
    match expression:
        case Comparison() | Membership():
            return {expression.field}
        case Not():
            return fields_named(expression.operand)
        case And() | Or():
            return set().union(*map(fields_named, expression.operands))
        case _:
            assert_never(expression)


def _operand(expression: Expression) -> str:
    text = write_query(expression)
    return f"({text})" if isinstance(expression, And | Or) else text
