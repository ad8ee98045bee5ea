"""Which paths may be read: those under the data roots once links are followed; and why another may not."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path


class PathRefused(Exception):
    """The path may not be read, or does not exist; the message says which, and why."""


def locate(path: str | Path, roots: Sequence[Path]) -> Path:
    """What is at the path, with links followed; a relative path counts from each root in turn."""
    refusal = PathRefused(_outside(path, roots))
    for place in [Path(path)] if Path(path).is_absolute() else [root / path for root in roots]:
        try:
            return _require_existing(place, resolve_inside(place, roots))
        except PathRefused as error:
            refusal = error
    raise refusal


def resolve_inside(path: str | Path, roots: Sequence[Path]) -> Path:
    """The absolute path with links followed; nothing need be there, for another machine may hold it."""
    place = Path(path)
    # What the path says before any link is followed.
    written = Path(os.path.normpath(place))
    above = _roots_above(written, roots)
    try:
        resolved = _follow(place)
    except PathRefused:
        # Of what lies outside of the roots nothing is said, not even that it is there.
        if above:
            raise
        raise PathRefused(_outside(path, roots)) from None
    if place.is_absolute() and _is_inside(resolved, roots):
        return resolved
    for root in above:
        if link := _link_that_leaves(written, root, roots):
            target = str(link.resolve())
            raise PathRefused(
                f"{str(link)!r} links to {target!r}, outside of the data roots ({_listed(roots)})"
            )
    raise PathRefused(_outside(path, roots))


def _roots_above(written: Path, roots: Sequence[Path]) -> list[Path]:
    spellings = [spelling for root in roots for spelling in (root, root.resolve())]
    return [root for root in spellings if written.is_relative_to(root)]


def _follow(place: Path) -> Path:
    """Raises PathRefused for what can be on no machine."""
    try:
        resolved = place.resolve()
    except RuntimeError:  # a loop, before Python 3.13
        raise PathRefused(f"{str(place)!r} is a symbolic link that leads back to itself") from None
    except ValueError:
        shown = repr(_shortened(place))
        raise PathRefused(f"{shown} holds a character that no file name can hold") from None
    try:
        place.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            detail = f"{str(place)!r} is a symbolic link that leads back to itself"
            raise PathRefused(detail) from None
        if error.errno == errno.ENAMETOOLONG:
            detail = f"{_shortened(place)!r} is longer than a file name can be"
            raise PathRefused(detail) from None
    return resolved


def _is_inside(resolved: Path, roots: Sequence[Path]) -> bool:
    return any(resolved.is_relative_to(root.resolve()) for root in roots)


def _link_that_leaves(written: Path, root: Path, roots: Sequence[Path]) -> Path | None:
    """The first step below the root that leads out of all roots."""
    place = root
    for step in written.relative_to(root).parts:
        place /= step
        if not _is_inside(place.resolve(), roots):
            return place
    return None


def _outside(path: str | Path, roots: Sequence[Path]) -> str:
    if not roots:
        return f"{str(path)!r} may not be read: no data root is configured (NORMLAB_DATA_ROOTS)"
    return f"{_shortened(path)!r} is not a path under one of the data roots ({_listed(roots)})"


def _require_existing(path: Path, resolved: Path) -> Path:
    try:
        resolved.stat()
    except (FileNotFoundError, NotADirectoryError):
        is_link = os.path.islink(path)
        what = f"{str(path)!r} links to {str(resolved)!r}, which" if is_link else repr(str(path))
        raise PathRefused(f"{what} does not exist") from None
    except OSError as error:
        raise PathRefused(f"{str(path)!r} cannot be read: {error.strerror}") from None
    return resolved


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots)


def _shortened(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:197]}..."
