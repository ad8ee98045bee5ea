"""The one reader of YAML and JSON documents, for the service and for whoever sends to it.

YAML is read by its 1.2 core rules: `5e-4` is a number, `no` and `on` are words, dates are text. Every JSON
document is a YAML document with the same meaning. Imports neither torch nor pydantic, so that the command
stays quick.
"""

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

#: A document that aliases blow up beyond this many values is refused.
MAX_VALUES = 200_000
MAX_DEPTH = 50


class DocumentError(ValueError):
    """The text is not a document: broken YAML or JSON. `problem` is the message without the place, which is
    `line` and `column`, from 1, where it is known."""

    def __init__(
        self, what: str, problem: str = "", line: int | None = None, column: int | None = None
    ) -> None:
        place = "" if line is None else f" at line {line}, column {column}"
        why = f": {problem}" if problem else ""
        super().__init__(f"{what}{place}{why}")
        self.problem = f"{what}{why}"
        self.line = line
        self.column = column


def read_document(text: str | bytes, *, as_json: bool = False) -> Any:
    """The value of a YAML or JSON text, with or without a byte order mark; raises `DocumentError`."""
    try:
        decoded = decode(text)
        value = _read_json(decoded) if as_json else _read_yaml(decoded)
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DocumentError("broken JSON", error.msg, error.lineno, error.colno) from error
    except yaml.MarkedYAMLError as error:
        raise _broken_yaml(error) from error
    except yaml.YAMLError as error:
        raise DocumentError(f"broken YAML: {error}") from error
    except RecursionError as error:
        raise DocumentError("nested too deeply") from error
    except DocumentError:
        raise
    except (ValueError, LookupError) as error:  # a number of thousands of digits, `!!bool maybe`
        raise DocumentError(f"not a value: {error}") from error
    measure(value)
    return value


def measure(value: Any) -> None:
    """Raises `DocumentError` for a value of more than `MAX_VALUES` values or deeper than `MAX_DEPTH`."""
    _measure(value, {}, 0)


def decode(text: str | bytes) -> str:
    """UTF-8 without its byte order mark; raises `UnicodeDecodeError`."""
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    return decoded.removeprefix("\ufeff")


def pointer(*segments: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in segments)


def _read_yaml(text: str) -> Any:
    """PyYAML refuses some JSON (tabs, pairs of surrogate escapes), so JSON is tried first."""
    if text.lstrip().startswith(("{", "[")):
        with contextlib.suppress(json.JSONDecodeError, DocumentError):
            return _read_json(text)
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _read_json(text: str) -> Any:
    def refuse_constant(name: str) -> Any:
        raise DocumentError(f"JSON has no {name}")

    return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=_no_repeated_key)


def _no_repeated_key(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise DocumentError(f"the key {key!r} appears twice")
        result[key] = value
    return result


_CORE = frozenset({"null", "bool", "int", "float", "str", "seq", "map"})


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's core schema, text keys only, and no key twice."""

    yaml_constructors = {  # noqa: RUF012 - PyYAML's way; without what JSON lacks: dates, bytes, sets
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in _CORE
    }
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's way

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._merged = 0
        #: Of each mapping, by its node.
        self._keys: dict[int, set[str]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As inherited, but refuses a key as soon as it is read: the rest may take seconds."""
        node = super().compose_node(parent, index)
        if index is None and isinstance(parent, yaml.MappingNode) and node is not None:
            self._ensure_new_key(self._keys.setdefault(id(parent), set()), node)
        return node

    def _ensure_new_key(self, keys: set[str], node: yaml.Node) -> None:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=node.start_mark)
        if node.value in keys:
            raise yaml.MarkedYAMLError(
                problem=f"the key {node.value!r} appears twice", problem_mark=node.start_mark
            )
        keys.add(node.value)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """As inherited, but merges of merges are counted before they are made: they multiply, too."""
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(part, yaml.MappingNode):
                    self.flatten_mapping(part)
                    self._merged += len(part.value)
                if self._merged > MAX_VALUES:
                    raise DocumentError(f"merges (<<) of more than {MAX_VALUES} values")
        super().flatten_mapping(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        # A key is the text as written: the variants `none` and `1` are names.
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(rf"^(?:{_pattern})$"),
        list(_first.replace("\0", "")),
    )
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
# As a key it merges; as a value it is text like any other.
_Loader.add_constructor(
    "tag:yaml.org,2002:merge",
    lambda loader, node: loader.construct_scalar(node),  # type: ignore[arg-type]
)
_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda loader, node: int(loader.construct_scalar(node)),  # type: ignore[arg-type]
)


#: What PyYAML says, and what is meant, in the words of whoever writes a document; `{line}`: where what isn't finished begins.
_IN_WORDS: tuple[tuple[str, str], ...] = (
    (r"expected ',' or '\]'", "the list that begins with [ in line {line} isn't closed by ], or a comma is missing in it"),
    (r"expected ',' or '\}'", "what begins with {{ in line {line} isn't closed by }}, or a comma is missing in it"),
    (r"found unexpected end of stream", "the quote that begins in line {line} isn't closed"),
    (r"mapping values are not allowed here", "a key can't stand here: check the indentation, and quote a value that holds ': '"),
    (r"could not find expected ':'", "line {line} is neither a key with a colon nor part of a value: write 'key: value'"),
    (r"expected <block end>, but found '<block mapping start>'", "this line's indentation does not match that of any line above"),
    (r"expected <block end>, but found '[?-]'", "keys and items of a list ('- ') can't stand side by side"),
    (r"expected <block end>", "something follows after the end of a value: quote the whole value"),
    (r"found character '\\t'", "a tab: indent with spaces"),
    (r"found character '(.)' that cannot start any token", r"a value can't begin with \1: quote it"),
    (r"found undefined alias '(.*)'", r"there is no anchor &\1: quote a value that begins with *"),
    (r"expected the node content, but found '([^<].*)'", r"a value is missing before \1"),
    (r"could not determine a constructor for the tag '(?:tag:yaml.org,2002:)?!*(.*)'", r"tags are not allowed: remove !\1, or quote the value"),
    (r"but found another document", "a second document begins (---): write one"),
)  # fmt: skip


def _broken_yaml(error: yaml.MarkedYAMLError) -> DocumentError:
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem)
    if mark is None:
        return DocumentError("broken YAML", problem)
    begin = error.context_mark or mark
    for said, meant in _IN_WORDS:
        if (match := re.match(said, problem)) is not None:
            problem = match.expand(meant.format(line=begin.line + 1))
            break
    return DocumentError("broken YAML", problem, mark.line + 1, mark.column + 1)


def _measure(value: Any, known: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """How many values are in the tree, every alias counted as often as it is used, and its height."""
    if not isinstance(value, dict | list):
        return 1, 0
    # Before the recursion, which an alias to its own parent would never end.
    if depth >= MAX_DEPTH:
        raise DocumentError(f"nested more than {MAX_DEPTH} deep")
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        measured = [_measure(part, known, depth + 1) for part in parts]
        known[id(value)] = (
            1 + sum(size for size, _ in measured),
            1 + max((height for _, height in measured), default=0),
        )
    size, height = known[id(value)]
    if size > MAX_VALUES:
        raise DocumentError(f"more than {MAX_VALUES} values")
    if depth + height > MAX_DEPTH:
        raise DocumentError(f"nested more than {MAX_DEPTH} deep")
    return size, height
