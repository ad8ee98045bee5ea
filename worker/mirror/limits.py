"""What MLflow accepts as names, keys and values, and how everything else is made to fit.

The numbers are those of `mlflow.utils.validation` and of the columns of its tracking store.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

LONGEST_RUN_NAME = 250
LONGEST_KEY = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_SOURCE = 65_535
#: A request of a batch may have a million characters; each of its three parts stays under a third.
_LARGEST_BATCH = 300_000

T = TypeVar("T")

_REFUSED = re.compile(r"[^/\w.\- :]")
#: How the name of a cell ends: what tells two cells of one arm apart must survive.
_SEED = re.compile(r" \| (?:trial at )?seed \d+$")


def run_name(name: str, longest: int = LONGEST_RUN_NAME) -> str:
    """The name; a longer one than MLflow takes loses what is before its seed to a digest of the whole."""
    if len(name) <= longest:
        return name
    match = _SEED.search(name)
    end = f" … #{_digest(name)}{match[0] if match else ''}"
    return name[: longest - len(end)].rstrip(" ,|") + end


def entity_key(name: str) -> str:
    """The name as the key of a metric, param or tag; one that MLflow refuses is changed and gets a digest
    of the whole at its end, so that different names stay different keys."""
    words = _REFUSED.sub("_", name).split("/")
    key = "/".join(word for word in words if word not in ("", ".", ".."))
    if key and key == name and len(key) <= LONGEST_KEY:
        return key
    end = f".{_digest(name)}"
    return key[: LONGEST_KEY - len(end)].rstrip("/") + end


def clip(text: str, limit: int) -> str:
    """The text, or as much of it as there is room for; what is cut ends with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 2] + " …"


def batches(items: Iterable[tuple[str, str, T]], count: int) -> Iterator[list[T]]:
    """Keys, values and what they make, in groups of at most `count` that fit into one request."""
    group: list[T] = []
    size = 0
    for key, value, item in items:
        weight = len(json.dumps([key, value])) + 64
        if group and (len(group) == count or size + weight > _LARGEST_BATCH):
            yield group
            group, size = [], 0
        group.append(item)
        size += weight
    if group:
        yield group


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
