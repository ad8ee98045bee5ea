"""Folders of images: which folders are splits, which are classes, and what lies in neither."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy

from trainer.data.sources.file_tree import FileTree
from trainer.data.sources.labels import Codes
from trainer.data.sources.records import entry, listed, printable
from trainer.data.sources.split_words import Split, is_split_word, read_split
from trainer.errors import DataError
from trainer.spec import FolderLayout, RecordEntry

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)

#: How many folders a message names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class FolderPart:
    """The images of one part, class by class, each class in the order of their paths."""

    files: Sequence[PurePath]
    labels: Codes


@dataclass(frozen=True, slots=True)
class OpenedFolder:
    """What a folder of images holds; no image is read."""

    classes: tuple[str, ...]
    parts: Mapping[str, FolderPart]
    record: tuple[RecordEntry, ...]


def read_layout(tree: FileTree, layout: FolderLayout = "auto") -> OpenedFolder:
    """`<class>/…/x.png`, or `<split>/<class>/…/x.png`: whatever lies below a class's folder is that class.

    A folder is a split if its name says so and its images lie in folders, not directly in it. DataError
    where `layout` leaves open whether the folders are splits or classes, and they could be either.
    """
    _require_names(tree)
    images = [path for path in tree.files if path.suffix.lower() in SUFFIXES]
    others = [path for path in tree.files if path.suffix.lower() not in SUFFIXES]
    tops: dict[str, list[PurePath]] = {}
    for path in images:
        tops.setdefault(path.parts[0] if len(path.parts) > 1 else "", []).append(path)
    outside = tops.pop("", [])
    splits = _splits(tops) if layout != "classes" else {}
    _require_train(tree, splits, layout)
    if layout == "auto":
        _require_one_reading(tree, tops, splits)
    opened = _with_splits(tree, tops, splits) if splits else _without_splits(tree, tops, layout)
    return OpenedFolder(
        opened.classes,
        opened.parts,
        opened.record + tuple(_left_out(tree, outside, others, images)),
    )


def _require_names(tree: FileTree) -> None:
    """A class's name goes into documents, which are UTF-8."""
    for path in tree.folders:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise DataError(f"the name of the folder {printable(str(path))} is not UTF-8") from None


def _splits(tops: Mapping[str, list[PurePath]]) -> dict[str, Split]:
    """The folders that hold folders of classes, and that a word of their name makes a split."""
    held = {top for top, paths in tops.items() if _holds_classes(paths)}
    return {top: split for top in tops if top in held and (split := read_split(top))}


def _holds_classes(paths: Sequence[PurePath]) -> bool:
    """Images lie in folders, but for a few strays."""
    nested = [path for path in paths if len(path.parts) > 2]
    direct = len(paths) - len(nested)
    return bool(nested) and (
        direct == 0 or (direct < len(nested) and len({path.parts[1] for path in nested}) > 1)
    )


def _require_train(tree: FileTree, splits: Mapping[str, Split], layout: FolderLayout) -> None:
    if splits and "train" not in splits.values():
        named = ", ".join(f"{top} ({split}, by its name)" for top, split in sorted(splits.items()))
        raise DataError(
            f"{tree.root} has no train split, only {named}: put the word train into the name "
            "of the folder with training images, or register with `layout: classes` if folders are classes"
        )
    if layout == "splits" and not splits:
        raise DataError(
            f"{tree.root} has no folder that is named after a split and holds class folders, "
            "which `layout: splits` requires"
        )


def _require_one_reading(
    tree: FileTree, tops: Mapping[str, list[PurePath]], splits: Mapping[str, Split]
) -> None:
    """DataError where folders whose names say no split may as well be classes as those that do."""
    if not splits:
        return
    unnamed = [top for top in sorted(tops) if not read_split(top)]
    if unnamed and not all(map(is_split_word, splits)):
        raise DataError(_two_readings(tree, splits, unnamed))
    # Beside two splits a folder of folders is something else.
    alone = len({split for top in tops if (split := read_split(top))}) == 1
    if alone and (alike := [top for top in unnamed if _holds_classes(tops[top])]):
        raise DataError(_two_readings(tree, splits, alike))


def _two_readings(tree: FileTree, splits: Mapping[str, Split], others: Sequence[str]) -> str:
    what = "a split, by its name" if len(splits) == 1 else "splits, by their names"
    left_out = ", ".join(others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
    return (
        f"{tree.root} can be read in two ways: {', '.join(sorted(splits))} as {what}, without {left_out}; "
        "or all of these folders as classes. Rename them, or register with `layout: splits` or "
        "`layout: classes`"
    )


def _without_splits(
    tree: FileTree, tops: Mapping[str, list[PurePath]], layout: FolderLayout
) -> OpenedFolder:
    if not tops:
        raise DataError(f"{tree.root} has no folders of classes with images in them")
    if layout == "auto" and all(map(is_split_word, tops)):
        raise DataError(
            f"{tree.root} has images directly in {' and '.join(sorted(tops))}, which are names of "
            "splits: put them into folders of classes, or register with `layout: classes`"
        )
    if len(tops) == 1:
        (only,) = tops
        raise DataError(
            f"a dataset needs at least 2 classes but {tree.root} has images in one folder only, "
            f"{only}: if that one holds the classes, register {tree.root / only}"
        )
    classes = tuple(sorted(tops))
    split_like = [name for name in classes if is_split_word(name)]
    why = "their images lie directly in them, so they are not splits"
    if layout == "classes":
        why = "`layout: classes`"
    record = [entry("taken", "folders as classes", split_like, why=why)] if split_like else []
    part = _part(tree, classes, tops, 1)
    taken = entry("taken", "folders of classes as train", classes, count=len(part.files))
    return OpenedFolder(classes, {"train": part}, (taken, *record, *_nested(part, 1)))


def _with_splits(
    tree: FileTree, tops: Mapping[str, list[PurePath]], splits: Mapping[str, Split]
) -> OpenedFolder:
    folders: dict[Split, list[str]] = {}
    for top in sorted(splits):
        folders.setdefault(splits[top], []).append(top)
    held_out: Split = "test" if "test" in folders else "validation"
    sources = {"train": folders["train"], "test": folders.get(held_out, [])}
    grouped = {part: _by_class(tops, names) for part, names in sources.items() if names}
    classes = tuple(sorted(grouped["train"]))
    parts = {part: _part(tree, classes, images, 2) for part, images in grouped.items()}
    record = []
    for part, found in parts.items():
        names = [f"{name}/" for name in sources[part]]
        why = "there is no test split" if part == "test" and held_out != "test" else None
        what = f"{listed(names, 'folder')} as {part}"
        record.append(entry("taken", what, names, count=len(found.files), why=why))
    if held_out == "test":
        record += _unused_validation(tops, folders.get("validation", []))
    record += _unused_folders(tops, splits)
    record += [note for part in parts.values() for note in _nested(part, 2)]
    strays = [path for name in splits for path in tops[name] if len(path.parts) == 2]
    return OpenedFolder(classes, parts, (*record, *_outside(strays)))


def _by_class(
    tops: Mapping[str, list[PurePath]], names: Sequence[str]
) -> dict[str, list[PurePath]]:
    classes: dict[str, list[PurePath]] = {}
    for name in names:
        for path in tops[name]:
            if len(path.parts) > 2:
                classes.setdefault(path.parts[1], []).append(path)
    return classes


def _part(
    tree: FileTree, classes: Sequence[str], found: Mapping[str, list[PurePath]], depth: int
) -> FolderPart:
    """`depth`: how many folders stand above an image of a plain class."""
    if unknown := sorted(set(found) - set(classes)):
        holder = tree.root / next(iter(found.values()))[0].parts[0]
        raise DataError(f"{holder} has classes that train lacks: {', '.join(unknown)}")
    files = [path for name in classes for path in sorted(found.get(name, []))]
    for path in files:
        if below := [step for step in path.parts[depth:-1] if is_split_word(step)]:
            holder = tree.root.joinpath(*path.parts[: path.parts.index(below[0], depth)])
            raise DataError(
                f"{holder} is read as a class but holds {below[0]!r}, the name of a split: put the "
                f"folders of splits above those of classes, or register {holder} itself"
            )
    numbers = [number for number, name in enumerate(classes) for _ in found.get(name, [])]
    return FolderPart(files, numpy.array(numbers, dtype=numpy.int64))


def _unused_validation(
    tops: Mapping[str, list[PurePath]], names: Sequence[str]
) -> Iterator[RecordEntry]:
    if names:
        count = sum(len(tops[name]) for name in names)
        why = "Normlab cuts its own validation from train"
        yield entry("skipped", "the validation split", names, count=count, why=why)


def _unused_folders(
    tops: Mapping[str, list[PurePath]], splits: Mapping[str, Split]
) -> Iterator[RecordEntry]:
    for top in sorted(set(tops) - set(splits)):
        if read_split(top):
            why = "its images are not in class folders, so they have no labels"
        else:
            why = "its name has no word like train, validation or test"
        yield entry("skipped", f"the folder {top}", count=len(tops[top]), why=why)


def _nested(part: FolderPart, depth: int) -> list[RecordEntry]:
    below = [str(path) for path in part.files if len(path.parts) > depth + 1]
    why = "whatever lies below a class's folder is that class"
    return (
        [entry("taken", "images in folders below their class's", below, why=why)] if below else []
    )


def _outside(paths: Sequence[PurePath]) -> list[RecordEntry]:
    names = [str(path) for path in paths]
    why = "they are not in a class folder"
    return [entry("skipped", "images", names, why=why)] if names else []


def _left_out(
    tree: FileTree,
    outside: Sequence[PurePath],
    others: Sequence[PurePath],
    images: Sequence[PurePath],
) -> Iterator[RecordEntry]:
    yield from _outside(outside)
    used = {folder for path in images for folder in path.parents}
    empty = [path for path in tree.folders if path not in used]
    reasons = (
        (others, "files", "their suffixes are not those of image formats that Normlab reads"),
        (empty, "folders", "there are no images in them"),
        (tree.leftovers, "leftovers", "hidden files, or what archives and systems leave behind"),
        (tree.loops, "links", "they lead back to themselves, or to a folder that holds them"),
        (tree.repeated, "linked folders", "they are read already, at another path"),
    )
    for paths, what, why in reasons:
        if paths:
            yield entry("skipped", what, [str(path) for path in paths], why=why)
