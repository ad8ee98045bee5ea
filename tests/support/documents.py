"""Documents for the API's tests: small valid ones, and changes of them."""

import copy
from typing import Any

Document = dict[str, Any]

JOB: Document = {
    "project": "digits",
    "dataset": {"name": "digits"},
    "model": {"name": "cnn", "width": 8},
    "norm": {"kind": "group", "groups": 4},
    "optimizer": {"kind": "sgd", "lr": 0.05},
    "training": {"epochs": 2, "batch_size": 64},
}
STUDY: Document = {
    "project": "digits",
    "name": "norms",
    "base": {key: value for key, value in JOB.items() if key not in ("project", "norm")},
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "group": {"norm": {"kind": "group", "groups": 4}},
    },
    "seeds": 2,
    "baseline": "none",
}


def job(**changes: Any) -> Document:
    """The small job with values set at dotted paths, `__` for a dot; `...` removes."""
    return changed(JOB, **changes)


def study(**changes: Any) -> Document:
    return changed(STUDY, **changes)


def changed(document: Document, **changes: Any) -> Document:
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *outer, last = path.split("__")
        inside = result
        for key in outer:
            inside = inside.setdefault(key, {})
        if value is ...:
            inside.pop(last)
        else:
            inside[last] = value
    return result
