"""How one part of a study's document is laid over another."""

from collections.abc import Mapping
from typing import Any

#: Fields of which a spec says only one or the other.
ALTERNATIVES = (
    ({"epochs"}, {"steps", "eval_every"}),
    ({"groups"}, {"channels_per_group"}),
)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of documents; a tagged alternative of another kind replaces the one below, lists replace."""
    result = {key: value for key, value in below.items() if not _gives_way(key, above)}
    for key, value in above.items():
        result[key] = overlaid(result.get(key), value)
    return result


def _gives_way(key: str, above: Mapping[str, Any]) -> bool:
    """Whether what is said above is an alternative to this key: steps to epochs, for one."""
    return any(
        key in one and not above.keys().isdisjoint(other)
        for pair in ALTERNATIVES
        for one, other in (pair, pair[::-1])
    )


def overlaid(below: Any, above: Any) -> Any:
    """The one above, or the merge of two mappings of one kind."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    same = all(tag not in above or above[tag] == below.get(tag) for tag in ("kind", "name"))
    return merged(below, above) if same else above
