"""Importing what a package offers, once in a process, as the very version that a job was submitted with."""

import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from trainer.plugins.discovery import Plugin, PluginError, PluginKind, find_plugin
from trainer.spec import InstalledPackage

Function: TypeAlias = Callable[..., Any]

#: What this process has imported: a package that changes on disk afterwards is the old one here.
_loaded: dict[tuple[PluginKind, str], tuple[InstalledPackage, Function]] = {}


def load_plugin(kind: PluginKind, name: str, installed: InstalledPackage | None) -> Function:
    """Raises PluginError where it isn't there, cannot be imported, is no function, or is of another version than
    `installed` (None: any)."""
    if (kind, name) not in _loaded:
        # The digest before the import: what is imported is at least as new.
        plugin = find_plugin(kind, name)
        _ensure_same(kind, name, installed, plugin.installed, "installed here")
        _loaded[kind, name] = plugin.installed, _import(plugin)
    present, function = _loaded[kind, name]
    _ensure_same(kind, name, installed, present, "what this process has loaded")
    return function


def explain_misfit(function: Function, *arguments: Any, **options: Any) -> str | None:
    """Why it cannot be called with these, with its signature; None where it can, or doesn't say."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function of C
        return None
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        return f"{error}; it is {getattr(function, '__name__', 'called with ')}{signature}"
    return None


def _ensure_same(
    kind: PluginKind,
    name: str,
    wanted: InstalledPackage | None,
    present: InstalledPackage,
    where: str,
) -> None:
    if wanted is not None and wanted != present:
        raise PluginError(
            f"{kind} plugin:{name} was submitted with {wanted}, but {present} is {where}: install the same package "
            "for the API and all workers, restart them, and submit again"
        )


def _import(plugin: Plugin) -> Function:
    what = f"{plugin.kind} plugin:{plugin.name} of {plugin.installed.package}"
    try:
        function = plugin.entry.load()
    except Exception as error:  # foreign code fails in every way
        raise PluginError(
            f"{what} cannot be loaded from {plugin.entry.value}: {type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise PluginError(
            f"{what} must be a function, but {plugin.entry.value} is a {type(function).__name__}"
        )
    file = os.path.realpath(getattr(sys.modules[plugin.entry.module], "__file__", None) or "")
    if file not in plugin.files:
        raise PluginError(
            f"{what} is loaded from {file}, which is no file of the package, so its digest would not tell the code: "
            "remove the other module of that name"
        )
    loaded: Function = function
    return loaded
