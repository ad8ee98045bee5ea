"""Names of files and folders: which split they belong to, and which files are not data.

The words are those of the `datasets` library (`data_files.SPLIT_KEYWORDS`), in any case, between any
characters that are no letters; `eval` counts as validation, and `trainval` as train.
"""

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from trainer.errors import DataError

Split: TypeAlias = Literal["train", "validation", "test"]

WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}

# What archives and systems leave beside data; everything hidden is passed over, too.
_LEFTOVERS = frozenset({"__macosx", "__pycache__", "thumbs.db", "desktop.ini", "@eadir"})


def read_split(name: str) -> Split | None:
    """The split that the words of a file's or folder's name say; DataError where they say two."""
    # `shapesTrain` has two words.
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word.casefold() for word in re.findall(r"[^\W\d_]+", spaced)]
    splits = sorted({WORDS[word] for word in words if word in WORDS})
    if len(splits) > 1:
        raise DataError(
            f"the name {name!r} says both {' and '.join(splits)}: rename it so that it names one split"
        )
    return splits[0] if splits else None


def is_split_word(name: str) -> bool:
    """Whether the name is such a word and nothing else."""
    return name.casefold() in WORDS


def is_leftover(name: str) -> bool:
    """`__MACOSX`, `.DS_Store`, `._image.png`, `Thumbs.db`: nothing that a person put there."""
    return name.startswith(".") or name.casefold() in _LEFTOVERS
