"""The page on how a dataset is read says what the code does."""

import re
from pathlib import Path

from trainer.data.sources.folders import SUFFIXES
from trainer.data.sources.split_words import WORDS
from trainer.spec.dataset import HuggingFace, ImageFolder, Parquet

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()


def test_the_page_lists_the_words_of_each_split() -> None:
    rows = re.findall(r"^\| (train|validation|test) \| (.*) \|$", PAGE, re.MULTILINE)
    listed = {word: split for split, words in rows for word in words.split(", ")}
    assert listed == dict(WORDS)


def test_the_page_lists_the_endings_of_images() -> None:
    (listed,) = re.findall(r"^Images end in (.*)\. Hidden", PAGE, re.MULTILINE)
    assert {f".{ending}" for ending in re.split(", | or ", listed)} == SUFFIXES


def test_the_page_lists_every_option_with_its_default() -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| .*\|$", PAGE, re.MULTILINE)
    listed = {
        name.strip("` "): default.strip("` ")
        for names, defaults in rows
        for name, default in zip(names.split(","), defaults.split(","), strict=True)
    }
    fields = HuggingFace.model_fields | Parquet.model_fields | ImageFolder.model_fields
    options = fields.keys() - {"kind", "path", "repository", "revision"}
    assert listed == {name: str(fields[name].default or "none") for name in options}
