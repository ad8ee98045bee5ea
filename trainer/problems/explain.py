"""Turns pydantic's errors into problems: where in the document, what is wrong, what would be right."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from runtime.documents import pointer
from trainer.problems.schema_walk import Model, names_at
from trainer.problems.suggestions import TORCHVISION, did_you_mean, listed, nearest
from trainer.spec import (
    KEY_PATTERN,
    KEY_RULE,
    NAME_PATTERN,
    NAME_RULE,
    OWN_MODELS,
    FieldValueError,
    Problem,
)

#: At most this many problems of a document are reported at once.
MOST_PROBLEMS = 100
#: Pydantic's rules in words that a person who writes YAML uses.
_RULES: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping of keys to values",
    "mapping_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "list_type": "must be a list",
    "none_required": "must be null",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
}
#: What people call a model → its name here; where Normlab and torchvision agree, Normlab's own.
_MODELS: Mapping[str, str] = {
    **{name: f"torchvision:{name}" for name in sorted(TORCHVISION)},
    **{name: name for name in OWN_MODELS},
}
_PATTERNS: Mapping[str, str] = {NAME_PATTERN: NAME_RULE, KEY_PATTERN: KEY_RULE}
_SHAPES = frozenset(kind for kind in _RULES if kind.endswith("_type"))


def problems(error: ValidationError, document: Any, model: Model) -> tuple[Problem, ...]:
    """What the model's validation of the document found, with JSON pointers into it as it was written."""
    found = error.errors(include_url=False, include_context=True)
    told = [one for one in found if not _counts_good_ones(one)][:MOST_PROBLEMS]
    return _joined([(one["type"], _problem(dict(one), document, model)) for one in told])


def _counts_good_ones(found: Mapping[str, Any]) -> bool:
    """Of a collection pydantic counts what is valid in it: `[-1]` is too short for a list of at least one, too."""
    value = found["input"]
    is_collection = isinstance(value, list | tuple | Mapping)
    return (
        found["type"] == "too_short"
        and is_collection
        and len(value) >= int(found["ctx"]["min_length"])
    )


def _problem(found: dict[str, Any], document: Any, model: Model) -> Problem:
    location = _location(found)
    return Problem(
        pointer=_pointer(location, found["type"], document),
        detail=explain(found, model),
        remedy=_remedy(found, model),
    )


def _joined(found: Sequence[tuple[str, Problem]]) -> tuple[Problem, ...]:
    """Pydantic lists the errors of every alternative of a value. What is wrong with it as one of them says more
    than that it isn't of another's type; the types that it might have are said in one sentence."""
    kept: dict[tuple[str, str], Problem] = {}
    for kind, problem in found:
        is_shape = kind in _SHAPES
        if is_shape and any(_says_more(problem, one, other) for one, other in found):
            continue
        key = (problem.pointer, "a shape" if is_shape else problem.detail)
        kept[key] = _either(kept[key], problem) if key in kept else problem
    return tuple(kept.values())


def _says_more(shape: Problem, kind: str, other: Problem) -> bool:
    is_same_value = other.pointer == shape.pointer and kind not in _SHAPES
    return is_same_value or other.pointer.startswith(f"{shape.pointer}/")


def _either(one: Problem, other: Problem) -> Problem:
    first, but, got = one.detail.partition(", but got ")
    second = other.detail.partition(", but got ")[0].removeprefix("must be ")
    if first.endswith(second):
        return one
    return one.model_copy(update={"detail": f"{first} or {second}{but}{got}"})


def _location(found: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Where pydantic saw it; a wrong or missing tag is found at the tag, not at its object."""
    location: tuple[str | int, ...] = found["loc"]
    match found["type"]:
        case "union_tag_invalid" | "union_tag_not_found":
            return (*location, _tag_name(found))
        case "unknown_model" if isinstance(found["input"], Mapping):
            return (*location, "name")
        case "value_error" if isinstance(cause := found["ctx"]["error"], FieldValueError):
            return (*location, *cause.location)
        case _:
            return location


def _tag_name(found: Mapping[str, Any]) -> str:
    return str(found["ctx"]["discriminator"]).strip("'")


def _pointer(location: Sequence[str | int], kind: str, document: Any) -> str:
    """Follows the document; what it doesn't have is a union's tag, unless it is what is missing."""
    kept: list[str | int] = []
    for index, segment in enumerate(location):
        last = index == len(location) - 1
        if _has(document, segment):
            document = document[segment]
        elif not (last and kind in ("missing", "union_tag_not_found", "unknown_model")):
            continue
        kept.append(segment)
    return pointer(*kept)


def _has(document: Any, segment: str | int) -> bool:
    if isinstance(document, Mapping):
        return segment in document
    return isinstance(document, list) and isinstance(segment, int) and segment < len(document)


def explain(found: Mapping[str, Any], model: Model | None = None) -> str:
    """One of pydantic's errors in a line: the rule, and the value that breaks it."""
    context = found.get("ctx") or {}
    match found["type"]:
        case "missing" | "union_tag_not_found":
            return "required, but missing"
        case "unknown_model":
            return _unknown_model(found["input"], found["msg"])
        case "union_tag_invalid":
            return _not_among(_quoted(context["expected_tags"]), context["tag"])
        case "literal_error" | "enum":
            return _not_among(_quoted(context["expected"]), found["input"], context["expected"])
        case "extra_forbidden":
            key = found["loc"][-1]
            names = names_at(model, found["loc"][:-1]) if model is not None else ()
            return f"unknown key{did_you_mean(key, names)}"
        case "value_error":
            return str(found["msg"]).removeprefix("Value error, ")
        case kind:
            return f"{_rule(kind, found, context)}, but got {_shown(found['input'])}"


def _unknown_model(model: Any, names: str) -> str:
    if not isinstance(model, Mapping):
        return f"must be a mapping of keys to values, but got {_shown(model)}"
    if "name" not in model:
        return "required, but missing"
    name = model["name"]
    near = nearest(str(name).rpartition(":")[2], _MODELS)
    meant = f"; did you mean {near!r}?" if near is not None else ""
    return f"must be {names}, but got {_shown(name)}{meant}"


def _rule(kind: str, found: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return _PATTERNS.get(pattern, f"must match the pattern {pattern}")
    if kind in _RULES:
        words = _RULES[kind].format(**{name: _number(value) for name, value in context.items()})
        return re.sub(r"\b1 (item|character)s", r"1 \1", words)
    # What pydantic says in its own words: an own error, or a rule that no part of a spec uses today.
    message = re.sub(r"^(?:Input|String|Value) should ", "must ", str(found["msg"]))
    return message[0].lower() + message[1:]


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _not_among(names: Sequence[str], got: Any, expected: str | None = None) -> str:
    among = expected or ", ".join(map(repr, names))
    one_of = "one of " if len(names) > 1 else ""
    return f"must be {one_of}{among}, but got {_shown(got)}{did_you_mean(got, names)}"


def _quoted(text: str) -> list[str]:
    """`'a', 'b' or 'c'` as pydantic lists them."""
    return re.findall(r"'([^']*)'", text)


def _remedy(found: Mapping[str, Any], model: Model) -> str | None:
    match found["type"]:
        case "extra_forbidden" if names := names_at(model, found["loc"][:-1]):
            return f"the keys allowed here are {listed(names)}"
        case "union_tag_not_found" if names := names_at(model, found["loc"]):
            return f"{_tag_name(found)}: one of {listed(names)}"
        case "unknown_model" if _lacks_name(found["input"]):
            return f"name: {found['msg']}"
        case _:
            return None


def _lacks_name(model: Any) -> bool:
    return not isinstance(model, Mapping) or "name" not in model


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
