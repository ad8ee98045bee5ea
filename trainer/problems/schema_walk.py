"""Which keys and tags a pydantic model allows at a location of one of its errors."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter

Location: TypeAlias = Sequence[str | int]
Model: TypeAlias = type[BaseModel] | TypeAdapter[Any]


def names_at(model: Model, location: Location) -> tuple[str, ...]:
    """The keys of the part there, or the tags of the union; empty where there is neither."""
    whole = model.core_schema if isinstance(model, TypeAdapter) else model.__pydantic_core_schema__
    match _find(whole, location, {}):
        case {"type": "model-fields", "fields": fields}:
            return tuple(fields)
        case {"type": "tagged-union", "choices": choices}:
            return tuple(map(str, choices))
        case _:
            return ()


def _find(schema: Any, location: Location, definitions: Mapping[str, Any]) -> Any:
    """The schema that the location leads to. An error's location names the tags of unions on its way, too."""
    match schema["type"]:
        case "definitions":
            named = {one["ref"]: one for one in schema["definitions"]}
            return _find(schema["schema"], location, named)
        case "definition-ref":
            return _find(definitions[schema["schema_ref"]], location, definitions)
        case "model" | "default" | "nullable" | "function-before" | "function-after":
            return _find(schema["schema"], location, definitions)
        case _ if not location:
            return schema
    insides = (_find(one, location[1:], definitions) for one in _inside(schema, location[0]))
    return next((found for found in insides if found is not None), None)


def _inside(schema: Any, segment: str | int) -> list[Any]:
    """What the segment may lead to."""
    match schema["type"]:
        case "model-fields" if segment in schema["fields"]:
            return [schema["fields"][segment]["schema"]]
        case "tagged-union" if segment in schema["choices"]:
            return [schema["choices"][segment]]
        case "union":
            return [one[0] if isinstance(one, tuple) else one for one in schema["choices"]]
        case "list":
            return [schema["items_schema"]]
        case "tuple" if isinstance(segment, int):
            items = schema["items_schema"]
            return [items[min(segment, len(items) - 1)]]
        case "dict":
            return [schema["values_schema"]]
        case _:
            return []
