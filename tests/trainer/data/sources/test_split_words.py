"""Which split a name says, and which names are no data."""

from itertools import product

import pytest

from trainer.data.sources.parquet_files import Grouped, ParquetFiles, group_files
from trainer.data.sources.split_words import WORDS, is_leftover, read_split
from trainer.errors import DataError

#: What ends a word for the `datasets` library.
SEPARATORS = "-._ 0-9"


def test_every_keyword_of_the_datasets_library_is_known() -> None:
    # Two seconds of imports, which other tests of this file do without.
    from datasets.data_files import NON_WORDS_CHARS, SPLIT_KEYWORDS

    assert NON_WORDS_CHARS == SEPARATORS
    for split, keywords in SPLIT_KEYWORDS.items():
        for keyword in keywords:
            # The library calls `eval` a test split; it is held out in either case.
            held_out = keyword in ("eval", "evaluation")
            assert WORDS[keyword] == ("validation" if held_out else str(split))


@pytest.mark.parametrize(
    ("before", "after"), list(product(["", *SEPARATORS], ["", *SEPARATORS, "s"]))
)
def test_words_end_where_the_datasets_library_ends_them(before: str, after: str) -> None:
    name = f"shapes{before}test{after}" if before else f"test{after}"
    assert read_split(name) == (None if after == "s" else "test")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("shapesTrain", "train"),
        ("TRAIN", "train"),
        ("train(1)", "train"),
        ("trainval", "train"),
        ("latest", None),
        ("détest", None),
        ("retraining", None),
        ("0000", None),
        ("dev", "validation"),
    ],
)
def test_a_word_is_what_stands_between_other_characters(name: str, split: str | None) -> None:
    assert read_split(name) == split


def test_a_name_of_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match="'train_test' says both test and train: rename it"):
        read_split("train_test")


@pytest.mark.parametrize(
    ("name", "leftover"),
    [
        ("__MACOSX", True),
        (".DS_Store", True),
        ("._1.png", True),
        ("Thumbs.db", True),
        ("desktop.ini", True),
        ("thumbs", False),
        ("__a", False),
        ("1.png", False),
    ],
)
def test_leftovers_are_known_by_their_names(name: str, leftover: bool) -> None:
    assert is_leftover(name) is leftover


def group(*names: str, configuration: str | None = None) -> Grouped:
    def nothing(name: str) -> None:
        raise AssertionError(name)

    return group_files(ParquetFiles("the set", configuration, names, nothing))  # type: ignore[arg-type]


def test_a_files_own_name_says_more_than_its_folders() -> None:
    grouped = group("dev/train-0.parquet", "dev/test-0.parquet")
    assert grouped.splits == {"train": ("dev/train-0.parquet",), "test": ("dev/test-0.parquet",)}
    assert grouped.record == ()


def test_a_folder_of_a_split_is_no_configuration_and_nor_is_what_lies_in_it() -> None:
    grouped = group("train/train-0.parquet", "train/a/1.parquet", "test/a/test-0.parquet")
    assert grouped.splits["train"] == ("train/a/1.parquet", "train/train-0.parquet")
    assert grouped.splits["test"] == ("test/a/test-0.parquet",)


def test_what_belongs_to_another_configuration_or_to_nothing_is_said() -> None:
    names = ("default/train.parquet", "other/train.parquet", "default/extra.parquet")
    grouped = group(*names, "__MACOSX/default/._train.parquet")
    assert grouped.splits == {"train": ("default/train.parquet",)}
    assert [(entry.action, entry.examples) for entry in grouped.record] == [
        ("skipped", ("default/extra.parquet",)),
        ("skipped", ("other/train.parquet",)),
        ("skipped", ("__MACOSX/default/._train.parquet",)),
    ]


def test_a_configuration_is_chosen_by_its_name() -> None:
    names = ("a/train.parquet", "b/train/0.parquet", "b/validation/0.parquet")
    assert set(group(*names, configuration="b").splits) == {"train", "validation"}
