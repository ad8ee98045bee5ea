"""Every file below a folder, links followed where they stay below the data roots."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from trainer.data.sources.split_words import is_leftover
from trainer.errors import DataError

#: How deep folders may lie; what lies deeper is a mistake, and paths have a limit in any case.
MAX_DEPTH = 100

#: What a person can change about a folder; a second attempt may mend other errors.
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class FileTree:
    """Paths relative to `root`, sorted. `leftovers` are files that no person put there, `loops` links to
    themselves or to a folder that holds them, `repeated` links to a folder that is read already."""

    root: Path
    files: list[PurePath] = field(default_factory=list)
    folders: list[PurePath] = field(default_factory=list)
    leftovers: list[PurePath] = field(default_factory=list)
    loops: list[PurePath] = field(default_factory=list)
    repeated: list[PurePath] = field(default_factory=list)


def list_files(root: Path, resolve: Callable[[Path], Path]) -> FileTree:
    """`resolve` gives a link's target, or raises DataError for one outside the data roots."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    walk = _Walk(FileTree(root), resolve)
    walk.run()
    tree = walk.tree
    for paths in (tree.files, tree.folders, tree.leftovers, tree.loops, tree.repeated):
        paths.sort()
    return tree


@dataclass(frozen=True, slots=True)
class _Folder:
    """`real` is its path without links; in a folder that is not `kept` all files are leftovers."""

    path: PurePath
    real: Path
    kept: bool = True


@dataclass(frozen=True, slots=True)
class _Link:
    """A link to a folder; `holder` is the real path of the folder that it lies in."""

    path: PurePath
    holder: Path


class _Walk:
    """Reads each real folder once, however many links lead to it.

    A link is followed when no folder is left that lies there itself, so that a folder below `root` has
    its own path and not that of a link to it.
    """

    def __init__(self, tree: FileTree, resolve: Callable[[Path], Path]) -> None:
        self.tree, self._resolve = tree, resolve
        self._visited: set[Path] = set()
        self._folders = [_Folder(PurePath(), tree.root.resolve())]
        self._links: list[_Link] = []

    def run(self) -> None:
        self._read_waiting()
        while self._links:
            # More links may lie in the folders that these lead to.
            links, self._links = sorted(self._links, key=lambda link: link.path), []
            for link in links:
                self._follow(link)
                self._read_waiting()

    def _read_waiting(self) -> None:
        while self._folders:
            self._read(self._folders.pop())

    def _read(self, folder: _Folder) -> None:
        if folder.kept:
            if folder.real in self._visited:
                self.tree.repeated.append(folder.path)
                return
            self._visited.add(folder.real)
            if folder.path.parts:
                self.tree.folders.append(folder.path)
        place = self.tree.root / folder.path
        if len(folder.path.parts) > MAX_DEPTH:
            shown = self.tree.root.joinpath(*folder.path.parts[:3])
            raise DataError(
                f"folders lie more than {MAX_DEPTH} deep below {shown}: move their files up"
            )
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise DataError(f"{place} cannot be read: {error.strerror}") from None
        for entry in entries:
            self._sort_in(entry, folder)

    def _sort_in(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        path = folder.path / entry.name
        keep = folder.kept and not is_leftover(entry.name)
        try:
            is_folder = entry.is_dir(follow_symlinks=keep)
        except OSError:  # a link to itself
            self.tree.loops.append(path)
            return
        if not is_folder:
            # Opening a pipe would wait for whoever writes to it.
            is_data = keep and (entry.is_file() or entry.is_symlink())
            (self.tree.files if is_data else self.tree.leftovers).append(path)
        elif entry.is_symlink():
            self._links.append(_Link(path, folder.real))
        else:
            self._folders.append(_Folder(path, folder.real / entry.name, keep))

    def _follow(self, link: _Link) -> None:
        target = self._resolve(self.tree.root / link.path)
        if link.holder.is_relative_to(target):
            self.tree.loops.append(link.path)
        else:
            self._folders.append(_Folder(link.path, target))
