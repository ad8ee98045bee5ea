"""Every file below a folder, links followed where they stay below the data roots."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from trainer.errors import DataError
from trainer.split_words import is_leftover


@dataclass(frozen=True, slots=True)
class FileTree:
    """Paths relative to `root`, sorted. `leftovers` are files that no person put there, `loops` links to
    themselves or to a folder that holds them."""

    root: Path
    files: list[PurePath] = field(default_factory=list)
    folders: list[PurePath] = field(default_factory=list)
    leftovers: list[PurePath] = field(default_factory=list)
    loops: list[PurePath] = field(default_factory=list)


def list_files(root: Path, resolve: Callable[[Path], Path]) -> FileTree:
    """`resolve` gives a link's target, or raises DataError for one outside the data roots."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    tree = FileTree(root)
    _walk(tree, PurePath(), (root.resolve(),), resolve, kept=True)
    for paths in (tree.files, tree.folders, tree.leftovers, tree.loops):
        paths.sort()
    return tree


def _walk(
    tree: FileTree,
    below: PurePath,
    above: tuple[Path, ...],
    resolve: Callable[[Path], Path],
    *,
    kept: bool,
) -> None:
    """`above` are the real folders that hold this one; in what is not `kept` no link is followed."""
    try:
        entries = list(os.scandir(tree.root / below))
    except PermissionError as error:
        raise DataError(f"{tree.root / below} cannot be read: {error.strerror}") from None
    for entry in entries:
        path = below / entry.name
        keep = kept and not is_leftover(entry.name)
        try:
            is_folder = entry.is_dir(follow_symlinks=keep)
        except OSError:  # a link to itself
            tree.loops.append(path)
            continue
        if not is_folder:
            # Opening a pipe would wait for whoever writes to it.
            is_data = keep and (entry.is_file() or entry.is_symlink())
            (tree.files if is_data else tree.leftovers).append(path)
            continue
        real = resolve(tree.root / path) if entry.is_symlink() else above[-1] / entry.name
        if real in above:
            tree.loops.append(path)
            continue
        if keep:
            tree.folders.append(path)
        _walk(tree, path, (*above, real), resolve, kept=keep)
