"""Which parquet files belong to which split, in the layouts that are usual on the Hugging Face hub."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from trainer.data.sources.records import entry
from trainer.data.sources.split_words import Split, is_leftover, read_split
from trainer.errors import DataError
from trainer.spec import RecordEntry


@dataclass(frozen=True, slots=True)
class ParquetFiles:
    """Names relative to their source, and how to open one. `repeated`: linked folders that are read
    already, at another path."""

    source: str
    configuration: str | None
    names: tuple[str, ...]
    open: Callable[[str], IO[bytes]]
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouped:
    """The files of each split, `train` among them, and what was left out. `named`: their names say so."""

    splits: Mapping[Split, Sequence[str]]
    record: tuple[RecordEntry, ...]
    named: bool = True


def group_files(files: ParquetFiles) -> Grouped:
    """Files that name no split are train where no file names one, and left out otherwise."""
    names = sorted(files.names)
    leftovers = [name for name in names if any(map(is_leftover, PurePosixPath(name).parts))]
    configurations: dict[str, dict[Split | None, list[str]]] = {}
    for name in names:
        if name not in leftovers:
            configuration, split = _placed(name)
            configurations.setdefault(configuration, {}).setdefault(split, []).append(name)
    if not configurations:
        raise DataError(f"{files.source} has no parquet files")
    chosen = _choose_configuration(files, list(configurations))
    splits = configurations[chosen]
    strays = splits.pop(None, [])
    if not splits:
        left_out = _left_out(files, configurations, chosen, [], leftovers)
        return Grouped({"train": strays}, left_out, named=False)
    if "train" not in splits:
        raise DataError(_without_train(files, splits, strays))
    named = {split: tuple(found) for split, found in splits.items() if split is not None}
    return Grouped(named, _left_out(files, configurations, chosen, strays, leftovers))


def _placed(name: str) -> tuple[str, Split | None]:
    """Configuration and split of `train-0.parquet`, `data/…`, `<conf>/train-…`, `<conf>/train/0.parquet`.

    A file's own name says more than its folders', and a near folder more than a far one. Folders above
    the one that names the split are the configuration.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    folders = [step for step in path.parent.parts if step != "data"]
    split = read_split(path.stem)
    for depth in reversed(range(len(folders))):
        own = _folder_split(folders[depth], split)
        if own is not None and split in (None, own):
            return "/".join(folders[:depth]), own
    return "/".join(folders), split


def _folder_split(folder: str, split: Split | None) -> Split | None:
    """What the folder says; two splits are no matter where the file itself has said one."""
    try:
        return read_split(folder)
    except DataError:
        if split is None:
            raise
        return None


def _choose_configuration(files: ParquetFiles, found: list[str]) -> str:
    wanted = files.configuration
    if wanted is not None and wanted in found:
        return wanted
    if wanted is None and (len(found) == 1 or "" in found or "default" in found):
        return found[0] if len(found) == 1 else ("" if "" in found else "default")
    named = ", ".join(name or "(none)" for name in found)
    raise DataError(
        f"{files.source} has the configurations {named}; name one of them with the source's "
        "`configuration`" + (f" instead of {wanted}" if wanted else "")
    )


def _without_train(
    files: ParquetFiles, splits: Mapping[Split | None, list[str]], strays: list[str]
) -> str:
    held_out = ", ".join(sorted(split for split in splits if split is not None))
    text = f"{files.source} has no train split but {held_out}"
    if strays:
        text += (
            f"; the name of {strays[0]} says no split: if it is train, put that word into its name"
        )
    return text


def _left_out(
    files: ParquetFiles,
    configurations: Mapping[str, Mapping[Split | None, list[str]]],
    chosen: str,
    strays: list[str],
    leftovers: list[str],
) -> tuple[RecordEntry, ...]:
    others = [
        name
        for configuration, splits in configurations.items()
        if configuration != chosen
        for names in splits.values()
        for name in names
    ]
    reasons = (
        (strays, "files of no split", "their names have no word like train, validation or test"),
        (others, "files of other configurations", "a dataset is one configuration"),
        (leftovers, "leftovers", "hidden files, or what archives and systems leave behind"),
        (files.repeated, "linked folders", "they are read already, at another path"),
    )
    return tuple(entry("skipped", what, names, why=why) for names, what, why in reasons if names)
