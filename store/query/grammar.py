"""The query language: from text to an expression and back.

    norm.kind = group and optimizer.lr >= 0.1 and best.val_accuracy > 0.9
    not (status = failed or reason in (oom, timeout)) and name ~ "wide"

`not` binds tighter than `and`, `and` tighter than `or`; keywords in any case; `==` is `=`, `~` means
"contains". A value is a number, true, false, null, a 'quoted' or "quoted" string (escapes: \\\\ \\' \\"
\\n \\t \\r \\uXXXX), or a bare word of letters, digits and `_ . : + - / @ % ·`, which dates are, too.
"""

import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from store.db import BadQuery
from store.query.expressions import (
    CONSTANTS,
    KEYWORDS,
    NUMBER,
    And,
    Comparison,
    Expression,
    Membership,
    Not,
    Or,
    Term,
    Value,
    write_query,
)

__all__ = ["parse_query", "write_query"]

if TYPE_CHECKING:
    from lark import Lark, Token

MOST_CHARACTERS = 4000
#: Of parentheses and `not` within each other.
MOST_DEPTH = 50
#: Values compared with; each one of a list counts.
MOST_TERMS = 200


def parse_query(text: str) -> Expression:
    """The text as an expression. Raises BadQuery."""
    from lark import UnexpectedCharacters, UnexpectedToken

    _ensure_text(text)
    parser = _parser()
    try:
        # Before parsing: the compiler's recursion, and SQLAlchemy's, follow the depth of the text, and
        # Python's stack ends at about a thousand frames.
        _ensure_small(list(parser.lex(text)))
        parsed: Expression = parser.parse(text)  # type: ignore[assignment]
    except UnexpectedCharacters as error:
        raise _bad_character(text, error.pos_in_stream or 0) from None
    except UnexpectedToken as error:
        raise _bad_token(text, error.token, error.accepts) from None
    return parsed


# Keywords have priority over WORD (`.2`) but must not be followed by a character of a word: `android` is one
# word, not `and` and `roid`. The lexer is "basic", so a keyword is one wherever it stands; as a value it
# needs quotes, and `_bad_token` says so. A contextual lexer would take `status = and` for a comparison with
# the word `and`.
_GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: unary (_AND unary)*
?unary: _NOT unary -> negation
      | "(" either ")"
      | WORD OPERATOR term -> comparison
      | WORD _IN _terms -> membership
      | WORD _NOT _IN _terms -> absence
_terms: "(" term ("," term)* ")"
term: WORD | STRING

_AND.2: /[aA][nN][dD](?![\w.:+\-\/@%·])/
_OR.2: /[oO][rR](?![\w.:+\-\/@%·])/
_NOT.2: /[nN][oO][tT](?![\w.:+\-\/@%·])/
_IN.2: /[iI][nN](?![\w.:+\-\/@%·])/
OPERATOR: /==|!=|<=|>=|[=<>~]/
STRING: /'([^'\\]|\\.)*'|"([^"\\]|\\.)*"/s
WORD: /[\w.:+\-\/@%·]+/
%ignore /\s+/
"""
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.|$)", re.DOTALL)
_UNESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "r": "\r"}


class _Building:
    """What the parser calls at each rule, from the inside outwards."""

    def either(self, operands: list[Expression]) -> Expression:
        return Or(tuple(operands))

    def both(self, operands: list[Expression]) -> Expression:
        return And(tuple(operands))

    def negation(self, operands: list[Expression]) -> Expression:
        return Not(operands[-1])

    def comparison(self, parts: list[Any]) -> Comparison:
        name, operator, term = parts
        symbol: Any = "=" if operator == "==" else str(operator)
        return Comparison(_field(name), symbol, term, name.start_pos, operator.start_pos)

    def membership(self, parts: list[Any]) -> Membership:
        return Membership(_field(parts[0]), tuple(parts[1:]), False, parts[0].start_pos)

    def absence(self, parts: list[Any]) -> Membership:
        return Membership(_field(parts[0]), tuple(parts[1:]), True, parts[0].start_pos)

    def term(self, parts: list["Token"]) -> Term:
        [token] = parts
        position = token.start_pos or 0
        quoted = token.type == "STRING"
        value = _unquoted(token, position) if quoted else _word_value(token, position)
        return Term(value, position)


@cache
def _parser() -> "Lark":
    """lark is imported where a query is read: a process that reads none starts without it."""
    from lark import Lark

    return Lark(
        _GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False, transformer=_Building()
    )


def _field(token: "Token") -> str:
    if not _FIELD.fullmatch(token):
        raise BadQuery(
            f"{str(token)!r} is not a field name; write one like norm.kind", token.start_pos or 0
        )
    return str(token)


def _word_value(token: str, position: int) -> Value:
    if token.lower() in CONSTANTS:
        return CONSTANTS[token.lower()]
    if not NUMBER.fullmatch(token):
        return str(token)
    # At most 18 digits, which every bigint holds. Exact, because ids and seeds beyond 2**53 are no longer
    # told apart as floats. What is longer is compared as a float.
    if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", token):
        return int(token)
    number = float(token)
    if not math.isfinite(number):
        raise BadQuery(f"{token[:40]} is too large to be stored", position)
    return number


def _unquoted(token: str, position: int) -> str:
    def replace(found: re.Match[str]) -> str:
        escape, place = found[1], position + 1 + found.start()
        if escape in _UNESCAPES:
            return _UNESCAPES[escape]
        # Only `uXXXX` has five characters; a lone `u` or a backslash at the end gets here as well.
        if len(escape) != 5:
            right = r"""use \\ \' \" \n \t \r or \uXXXX"""
            raise BadQuery(f"\\{escape} is not an escape sequence; {right}", place)
        character = chr(int(escape[1:], 16))
        if unstorable := _unstorable(character):
            raise BadQuery(f"{unstorable}: leave \\{escape} out", place)
        return character

    return _ESCAPE.sub(replace, token[1:-1])


def _unstorable(character: str) -> str | None:
    """Why no stored text has it, or None."""
    if character == "\0":
        return "text cannot contain the character NUL"
    return "text cannot contain a lone surrogate" if "\ud800" <= character <= "\udfff" else None


def _ensure_text(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        detail = f"a query has at most {MOST_CHARACTERS} characters but this one has {len(text)}"
        raise BadQuery(detail, MOST_CHARACTERS)
    for position, character in enumerate(text):
        if unstorable := _unstorable(character):
            raise BadQuery(unstorable, position)
    if not text.strip():
        raise BadQuery("the query is empty; write a comparison like norm.kind = group", 0)


def _ensure_small(tokens: Sequence["Token"]) -> None:
    """Counted before anything is built, so that no query can exhaust a stack."""
    opened, negations, terms = [0], 0, 0
    for token in tokens:
        match token.type:
            case "LPAR":
                opened.append(opened[-1] + negations + 1)
                negations = 0
            case "RPAR" if len(opened) > 1:
                opened.pop()
            case "_NOT":
                negations += 1
            case "_AND" | "_OR":
                negations = 0
            case "OPERATOR" | "_IN" | "COMMA":
                terms += 1
        position = token.start_pos or 0
        if opened[-1] + negations > MOST_DEPTH:
            detail = f"a query may nest at most {MOST_DEPTH} parentheses and nots"
            raise BadQuery(detail, position)
        if terms > MOST_TERMS:
            raise BadQuery(f"a query has at most {MOST_TERMS} values to compare with", position)


def _bad_character(text: str, position: int) -> BadQuery:
    character = text[position]
    if character in "'\"":
        return BadQuery(f"the string is not closed; end it with {character}", position)
    right = "use = != < <= > >= ~" if character == "!" else "if it is part of a value, quote it"
    return BadQuery(f"unexpected character {character!r}; {right}", position)


def _bad_token(text: str, token: "Token", accepted: Iterable[str]) -> BadQuery:
    if token.type == "$END":
        return BadQuery(
            f"unexpected end of the query: {_right(set(accepted))} is missing", len(text)
        )
    detail = f"found {str(token)[:60]!r} but expected {_right(set(accepted))}"
    if token.lower() in KEYWORDS and "STRING" in accepted:
        detail += f"; as a value, put it in quotes: '{token}'"
    return BadQuery(detail, token.start_pos or 0)


def _right(accepted: set[str]) -> str:
    """What would be right, in words, from the terminals that the grammar accepts."""
    if "OPERATOR" in accepted:
        return "an operator (= != < <= > >= ~ in, not in)"
    if "STRING" in accepted:
        return "a value"
    if "WORD" in accepted:
        return "a field, 'not' or '('"
    if "COMMA" in accepted:
        return "',' or ')'"
    if accepted == {"LPAR"}:
        return "'(' with a list of values"
    if accepted == {"_IN"}:
        return "'in' (or and/or before this 'not')"
    return "'and', 'or' or ')'" if "RPAR" in accepted else "'and' or 'or'"
