"""The names of a study's arms."""

import json
from collections.abc import Mapping
from typing import Any

#: In the place of a variant's name, of the job that all arms of a seed begin from.
PRETRAINING = "pretraining"


def arm_name(variant: str, point: Mapping[str, Any]) -> str:
    """`group · batch_size=8`: the variant and its point, with paths as short as they stay distinct.

    By path, not in the order of writing: SQL's JSON keeps none, and a name must not change there.
    """
    point = dict(sorted(point.items()))
    last = [path.rsplit(".", 1)[-1] for path in point]
    labels = (
        f"{short if last.count(short) == 1 else path}={_label(value)}"
        for (path, value), short in zip(point.items(), last, strict=True)
    )
    return " · ".join([variant, *labels])


def _label(value: Any) -> str:
    if isinstance(value, Mapping):
        tag = value.get("kind", value.get("name"))
        rest = [
            f"{key}={_label(inside_value)}"
            for key, inside_value in sorted(value.items())
            if key not in ("kind", "name")
        ]
        inside = ",".join(rest)
        return f"{tag or ''}({inside})" if inside else str(tag or "{}")
    if isinstance(value, list):
        return "[" + ",".join(_label(inside_value) for inside_value in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)
