"""`seeds: until decided, at most 40`: a study that goes on to its next look by itself, in words and in fields."""

import re
from collections.abc import Mapping
from typing import Any

from trainer.spec import FieldValueError

#: Under so many seeds there is no verdict, and hence no look.
FIRST_LOOK = 8
#: Analyses of one study that may be declared: each costs some of the power of all.
MOST_LOOKS = 5
MOST_SEEDS = 1000
PATTERN = r"^until decided, at most ([0-9]{1,4})$"
_FORM = "'until decided, at most 40'"


def declare_looks(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the sentence in `seeds` written out: the looks, those of the document if it has some, and the
    seeds of the first one."""
    said = document.get("seeds")
    if not isinstance(said, str):
        return dict(document)
    match = re.match(PATTERN, said.strip())
    if match is None:
        raise FieldValueError(f"must be a number, a list of seeds or {_FORM}, but got {said!r}", "seeds")  # fmt: skip
    most = int(match[1])
    if not FIRST_LOOK < most <= MOST_SEEDS:
        detail = f"the maximum must be from {FIRST_LOOK + 1} to {MOST_SEEDS} seeds, but got {most}"
        raise FieldValueError(detail, "seeds")
    looks = document.get("looks") or choose_looks(most)
    if isinstance(looks, list | tuple) and looks[-1] != most:
        detail = f"the last look must be at {most} seeds, the most that `seeds` allows, but got {list(looks)}"
        raise FieldValueError(detail, "looks")
    return {**document, "seeds": looks[0], "looks": looks, "until": "decided"}


def choose_looks(most: int) -> list[int]:
    """Evenly spaced, at most five, at least eight seeds apart where there are enough: 8, 16, 24, 32 and 40 of 40."""
    count = min(max(most // FIRST_LOOK, 2), MOST_LOOKS)
    return sorted({max(FIRST_LOOK, round(most * (n + 1) / count)) for n in range(count)})
