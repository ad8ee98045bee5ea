"""The Python client, the `normlab` command and the local stack."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normlab.client import Client, Reference
    from normlab.errors import NormlabError

__all__ = ["Client", "NormlabError", "Reference"]


def __getattr__(name: str) -> Any:
    """Imported at first use: starting a server or asking for help needs no HTTP."""
    modules = {"Client": "client", "NormlabError": "errors", "Reference": "client"}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"normlab.{modules[name]}"), name)
