"""Which packages may be used, and what they offer: read from their metadata, without importing any of them."""

import csv
import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    entry_points,
)
from pathlib import PurePosixPath
from typing import Literal, TypeAlias, get_args

from runtime.files import digest_of_parts
from trainer.spec import InstalledPackage

PluginKind: TypeAlias = Literal["model", "dataset", "metric"]

#: The group of entry points in which a package offers them.
GROUPS: Mapping[PluginKind, str] = {kind: f"normlab.{kind}s" for kind in get_args(PluginKind)}
SETTING = "NORMLAB_PLUGINS"
REMEDY = "one that `normlab catalog plugins` lists"
#: The names that a spec can write behind `plugin:`.
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: Of a package's metadata; the rest says how and where it was installed.
_COUNTED_METADATA = ("entry_points.txt",)


class PluginError(Exception):
    """A plugin that cannot be used here: the message says which, why, and what would help."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a package offers under a name, and the package as it is installed now."""

    kind: PluginKind
    name: str
    installed: InstalledPackage
    entry: EntryPoint

    @property
    def files(self) -> frozenset[str]:
        """Of the package, absolute."""
        owner = distribution(self.installed.package)
        recorded = _recorded_files(owner) or ()
        return frozenset(os.path.realpath(str(owner.locate_file(file))) for file in recorded)


@dataclass(frozen=True, slots=True)
class Offered:
    """A package that the setting names: what it is and offers, or what is wrong with it."""

    package: str
    installed: InstalledPackage | None = None
    plugins: tuple[Plugin, ...] = ()
    problem: str | None = None


def allowed_packages() -> Sequence[str]:
    """As the setting names them, separated by commas."""
    return [part.strip() for part in os.environ.get(SETTING, "").split(",") if part.strip()]


def list_offered() -> list[Offered]:
    """One for each package of the setting, in its order."""
    return [_read(package) for package in allowed_packages()]


def offered_packages() -> list[InstalledPackage]:
    """Those that can be used."""
    return [one.installed for one in list_offered() if one.installed is not None]


def find_plugin(kind: PluginKind, name: str) -> Plugin:
    """Raises PluginError: no package that may be used offers it, or several do."""
    offered = list_offered()
    plugins = [one for package in offered for one in package.plugins if one.kind == kind]
    matches = [one for one in plugins if one.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        packages = " and ".join(one.installed.package for one in matches)
        raise PluginError(
            f"{kind} plugin:{name} is offered by {packages}: take one of them out of {SETTING}"
        )
    raise PluginError(_explain_missing(kind, name, offered, [one.name for one in plugins]))


def find_by_key(key: str) -> Plugin:
    """As `find_plugin`, of `model:tiny`."""
    kind, _, name = key.partition(":")
    return find_plugin(next(one for one in GROUPS if one == kind), name)


def _explain_missing(
    kind: PluginKind, name: str, offered: Sequence[Offered], names: Sequence[str]
) -> str:
    for entry in entry_points(group=GROUPS[kind], name=name):
        if entry.dist is not None and _canonical(entry.dist.name) not in {
            _canonical(one.package) for one in offered
        }:
            return (
                f"{kind} plugin:{name} is offered by the package {entry.dist.name}, which may not be used: the "
                f"operator of the service has to name it in {SETTING}"
            )
    if problems := [one.problem for one in offered if one.problem is not None]:
        return f"there is no {kind} plugin:{name}: {'; '.join(problems)}"
    if not offered:
        return f"there is no {kind} plugin:{name}: no package of plugins is named in {SETTING}"
    near = difflib.get_close_matches(name, names, n=3) or sorted(names)[:5]
    listed = f"; there is {', '.join(f'plugin:{one}' for one in near)}" if near else ""
    packages = ", ".join(one.package for one in offered)
    return f"{packages} ({SETTING}) has no {kind} plugin:{name}{listed}"


def _read(package: str) -> Offered:
    try:
        owner = distribution(package)
    except (PackageNotFoundError, ValueError):
        return Offered(package, problem=f"{package} is named in {SETTING} but not installed here")
    try:
        installed = InstalledPackage(
            package=_canonical(owner.name), version=owner.version, digest=_digest(owner)
        )
    except PluginError as error:
        return Offered(package, problem=str(error))
    except (ValueError, KeyError) as error:
        # No version (a KeyError once importlib_metadata was imported), or one that no release can have: a worker and
        # the API start all the same.
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        return Offered(package, problem=f"{package} has metadata that cannot be read: {reason}")
    return Offered(package, installed, tuple(_plugins(owner, installed)))


def _plugins(owner: Distribution, installed: InstalledPackage) -> Iterator[Plugin]:
    for kind, group in GROUPS.items():
        for entry in owner.entry_points.select(group=group):
            if NAME.fullmatch(entry.name):
                yield Plugin(kind, entry.name, installed, entry)


def _canonical(name: str) -> str:
    """As packages are compared by their names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(owner: Distribution) -> str:
    """Of the names and contents of all files that the package has installed, as they are now: an edited file counts."""
    name = owner.name
    if _is_editable(owner):
        raise PluginError(
            f"{name} is installed in editable mode, so its code is not among its files: install it with "
            "`pip install`, without -e"
        )
    recorded = _recorded_files(owner)
    if recorded is None:
        raise PluginError(f"{name} has no record of its files: install it with pip")
    parts: list[bytes] = []
    for file in sorted(recorded):
        if _counts(PurePosixPath(file)):
            try:
                content = owner.locate_file(file).read_bytes()  # type: ignore[attr-defined]
            except OSError as error:
                raise PluginError(
                    f"{file} of {name} cannot be read ({error.strerror}): install it again"
                ) from None
            parts += [file.encode(), content]
    return digest_of_parts(parts)


def _recorded_files(owner: Distribution) -> list[str] | None:
    """Relative to the folder of packages, also those that are missing; None where nothing was recorded."""
    # Not `owner.files`: once a process has imported importlib_metadata, as MLflow does, those leave out files that are
    # missing, so that processes would disagree about a damaged package.
    record = owner.read_text("RECORD")
    return None if record is None else [row[0] for row in csv.reader(record.splitlines()) if row]


def _is_editable(owner: Distribution) -> bool:
    origin = json.loads(owner.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def _counts(file: PurePosixPath) -> bool:
    # Compiled files follow from the others; scripts lie outside of the folder and name its interpreter.
    if file.suffix == ".pyc" or file.parts[0] == "..":
        return False
    if file.parts[0].endswith((".dist-info", ".egg-info")):
        return file.name in _COUNTED_METADATA
    return True
