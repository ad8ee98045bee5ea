"""Which folders are splits, which are classes, and what is refused because it could be either."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from trainer.data.sources.file_tree import list_files
from trainer.data.sources.folders import OpenedFolder, read_layout
from trainer.errors import DataError
from trainer.spec.dataset import FolderLayout, ImageFolder


def layout(base: Path, *files: str, read_as: FolderLayout = "auto") -> OpenedFolder:
    """Of files that nobody reads."""
    for name in files:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    return read_layout(list_files(base, Path.resolve), read_as)


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    opened = layout(tmp_path, "bus/1.png", "train/1.png", "train/2.png")
    assert opened.classes == ("bus", "train")
    assert opened.parts["train"].labels.tolist() == [0, 1, 1]
    assert ("folders as classes", ("train",)) in [(e.what, e.examples) for e in opened.record]


def test_a_folder_may_have_the_name_of_an_image(tmp_path: Path) -> None:
    opened = layout(tmp_path, "a/foo.png/1.jpg", "a/2.png", "b.png/1.png")
    assert opened.classes == ("a", "b.png")
    assert [str(path) for path in opened.parts["train"].files] == [
        "a/2.png",
        "a/foo.png/1.jpg",
        "b.png/1.png",
    ]


def test_folders_of_one_split_are_taken_together(tmp_path: Path) -> None:
    opened = layout(tmp_path, "train-1/a/1.png", "train-2/a/1.png", "train-2/b/1.png")
    assert [str(path) for path in opened.parts["train"].files] == [
        "train-1/a/1.png",
        "train-2/a/1.png",
        "train-2/b/1.png",
    ]


def test_strays_beside_the_classes_of_a_split_are_left_out(tmp_path: Path) -> None:
    opened = layout(tmp_path, "train/a/1.png", "train/b/1.png", "train/all.png", "masks/1.png")
    assert (opened.classes, len(opened.parts["train"].files)) == (("a", "b"), 2)
    skipped = [(entry.what, entry.count) for entry in opened.record if entry.action == "skipped"]
    assert skipped == [("the folder masks", 1), ("images", 1)]


def test_images_of_test_without_classes_are_left_out_as_unlabelled(tmp_path: Path) -> None:
    opened = layout(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "val/a/1.png")
    assert opened.parts["test"].labels.tolist() == [0]
    (left_out,) = [entry for entry in opened.record if entry.action == "skipped"]
    assert (left_out.what, left_out.count) == ("the folder test", 1)
    assert "no labels" in (left_out.why or "")


def test_validation_beside_test_is_left_out_and_said(tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    opened = layout(tmp_path, *(f"{split}/{name}/1.png" for split in splits for name in "ab"))
    assert [str(path) for path in opened.parts["test"].files] == ["test/a/1.png", "test/b/1.png"]
    (left_out,) = [entry for entry in opened.record if entry.action == "skipped"]
    assert (left_out.what, left_out.count) == ("the validation split", 2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/1.png", "test/1.png"], "directly in test and train, which are names of splits"),
        (
            ["test/a/1.png", "val/a/1.png"],
            r"train split, only test \(test, by its name\), val \(validation, by its name\): put the word",
        ),
        (
            ["train/a/1.png", "car/a/1.png", "bus/a/1.png", "bus/b/1.png"],
            r"two ways: train as a split, by its name, without bus, car; or all .* `layout: classes`",
        ),
        (["crash test/x/1.png", "dog/x/1.png"], r"crash test \(test, by its name\).*`layout: cl"),
        (["test/x/1.png", "dog/1.png"], r"no train split, only test"),
        (["shapes/a/1.png", "shapes-test/a/1.png"], r"no train split, only shapes-test"),
        (["x-train/a/1.png", "x-test/a/1.png", "y/1.png"], "as splits, by their names, without y;"),
        (["a/train/1.png", "b/train/1.png"], r"/a is read as a class but holds 'train'"),
        (["set/train/a/1.png", "set/test/a/1.png"], r"register .*/set"),
        (["all/a/1.png", "all/b/1.png"], r"images in one folder only, all: .* register .*/all"),
        (["train-x/a/1.png", "bus/1.png"], "train-x as a split, by its name, without bus;"),
        (["train/a/1.png", "test/b/1.png"], "test has classes that train lacks: b"),
        (["train-test/a/1.png", "b/1.png"], "says both test and train"),
    ],
)
def test_folders_that_can_be_read_in_two_ways_are_refused(
    tmp_path: Path, files: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        layout(tmp_path, *files)


def test_the_layout_says_which_of_two_readings_is_meant(tmp_path: Path) -> None:
    files = [f"{top}/{name}/1.png" for top in ("train", "car", "bus") for name in "ab"]
    as_classes = layout(tmp_path, *files, read_as="classes")
    assert as_classes.classes == ("bus", "car", "train")
    assert as_classes.parts["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    as_splits = layout(tmp_path, read_as="splits")
    assert as_splits.classes == ("a", "b")
    skipped = [entry.what for entry in as_splits.record if entry.action == "skipped"]
    assert skipped == ["the folder bus", "the folder car"]


def test_a_class_with_the_word_of_a_split_in_its_name_is_one_if_told(tmp_path: Path) -> None:
    files = ("crash test/batch1/1.png", "dog/batch1/1.png")
    assert layout(tmp_path, *files, read_as="classes").classes == ("crash test", "dog")
    with pytest.raises(DataError, match=r"no train split, only crash test"):
        layout(tmp_path, read_as="splits")


def test_a_layout_of_splits_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder that is named after a split"):
        layout(tmp_path, "a/1.png", "b/1.png", read_as="splits")


def test_two_splits_say_that_a_folder_beside_them_is_no_class(tmp_path: Path) -> None:
    tops = ("train", "test", "masks")
    opened = layout(tmp_path, *(f"{top}/{name}/1.png" for top in tops for name in "ab"))
    assert [entry.what for entry in opened.record] == [
        "train/ as train",
        "test/ as test",
        "the folder masks",
    ]


def test_an_option_of_tables_is_no_option_of_folders() -> None:
    source = {"kind": "image_folder", "path": "/data", "unlabelled": "skip"}
    with pytest.raises(ValidationError, match=r"unlabelled\s+Extra inputs are not permitted"):
        ImageFolder.model_validate(source)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    base, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    (base / "a").mkdir(parents=True)
    (base / "a" / "back").symlink_to(base / "a")
    (base / "a" / "self.png").symlink_to(base / "a" / "self.png")
    (base / "a" / "up").symlink_to(tmp_path)
    elsewhere.mkdir()
    (elsewhere / "2.png").touch()
    (base / "a" / "more").symlink_to(elsewhere)
    opened = layout(base, "a/1.png", "b/1.png")
    paths = [str(path) for path in opened.parts["train"].files]
    assert paths == ["a/1.png", "a/more/2.png", "b/1.png"]
    (left_out,) = [entry for entry in opened.record if entry.action == "skipped"]
    assert (left_out.what, left_out.examples) == ("links", ("a/back", "a/self.png", "a/up"))


def test_folders_linked_to_one_another_are_read_once_each(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(7)]
    for name in names:
        (tmp_path / name).mkdir()
        for other in set(names) - {name}:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    opened = layout(tmp_path, *(f"{name}/1.png" for name in names))
    assert [str(path) for path in opened.parts["train"].files] == [f"{n}/1.png" for n in names]
    (left_out,) = [entry for entry in opened.record if entry.action == "skipped"]
    assert (left_out.what, left_out.count) == ("linked folders", 42)


def test_a_folder_is_read_at_its_own_path_rather_than_at_a_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "all").symlink_to(tmp_path / "b")
    opened = layout(tmp_path, "a/1.png", "b/2.png", "b/more/3.png")
    paths = [str(path) for path in opened.parts["train"].files]
    assert paths == ["a/1.png", "b/2.png", "b/more/3.png"]


def test_of_two_links_to_one_folder_the_second_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "pool" / "cats").mkdir(parents=True)
    (tmp_path / "pool" / "cats" / "1.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cats").symlink_to(tmp_path / "pool" / "cats")
    (tmp_path / "set" / "pool").symlink_to(tmp_path / "pool")
    tree = list_files(tmp_path / "set", Path.resolve)
    assert [str(path) for path in tree.files] == ["cats/1.png"]
    assert [str(path) for path in tree.repeated] == ["pool/cats"]


def test_folders_nested_without_end_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / Path(*["a"] * 101)).mkdir(parents=True)
    with pytest.raises(DataError, match=r"more than 100 deep below .*/a/a/a"):
        list_files(tmp_path, Path.resolve)


def test_pipes_are_left_out_instead_of_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "0.png")
    opened = layout(tmp_path, "a/1.png", "b/1.png")
    assert [str(path) for path in opened.parts["train"].files] == ["a/1.png", "b/1.png"]
    assert [entry.examples for entry in opened.record[1:]] == [("a/0.png",)]


def test_names_that_are_not_utf8_are_refused_or_shown_in_ascii(tmp_path: Path) -> None:
    opened = layout(tmp_path, "a/1.png", "b/1.png", os.fsdecode(b"b/\xff.txt"))
    (left_out,) = [entry for entry in opened.record if entry.action == "skipped"]
    assert left_out.examples == ("b/\\udcff.txt",)
    with pytest.raises(DataError, match=r"the folder \\udcff is not UTF-8"):
        layout(tmp_path, os.fsdecode(b"\xff/1.png"))


def test_a_file_is_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="is not a folder"):
        list_files(tmp_path / "a.png", Path.resolve)
