"""Suggests the name that was probably meant by one that doesn't exist."""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

_CUTOFF = 0.6
#: A longer word is no misspelt name, and takes long to compare.
_LONGEST = 200
#: The end of what torch and papers call a norm.
_NORM = re.compile(r"[_ -]?norm(?:alization)?[_ -]?(?:\dd)?$")
#: So many names are listed in a message.
MOST_NAMES = 30


def did_you_mean(word: object, names: Iterable[str]) -> str:
    """`; did you mean 'group'?` to end a sentence with; nothing where no name is near, or the word is a name."""
    near = nearest(word, {name: name for name in names})
    return "" if near is None or near == word else f"; did you mean {near!r}?"


def nearest(word: object, names: Mapping[str, str]) -> str | None:
    """The value of the key that is nearest to the word, in upper or lower case; of `BatchNorm2d` to `batch`."""
    if not isinstance(word, str) or len(word) > _LONGEST:
        return None
    near = _nearest(word.lower(), tuple(names))
    return names[near] if near is not None else None


@lru_cache(maxsize=1000)
def _nearest(word: str, names: tuple[str, ...]) -> str | None:
    """Remembered, since the arms of a large study make the same mistake thousands of times."""
    spellings = {word, _NORM.sub("", word) or word}
    ratios = {name: max(_ratio(name, one) for one in spellings) for name in names}
    best = max(ratios, key=ratios.__getitem__, default=None)
    return best if best is not None and ratios[best] >= _CUTOFF else None


def _ratio(name: str, word: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), word).ratio()


def listed(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """`a, b, c`, cut off where there are too many to read."""
    every = list(names)
    more = f", … ({len(every)} in all)" if len(every) > most else ""
    return ", ".join(every[:most]) + more
