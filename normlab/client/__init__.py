"""The Python client."""

from typing import TYPE_CHECKING, Any

from normlab.client.client import FINAL, Client
from normlab.client.dataframes import exported_frame
from normlab.client.documents import read_mapping
from normlab.client.downloads import inside, save
from normlab.client.ids import Reference
from normlab.client.results import SideBySide
from normlab.client.waiting import LINE_SECONDS, outlast_outage

if TYPE_CHECKING:
    from normlab.client.transport import Transport

__all__ = [
    "FINAL",
    "LINE_SECONDS",
    "Client",
    "Reference",
    "SideBySide",
    "Transport",
    "exported_frame",
    "inside",
    "outlast_outage",
    "read_mapping",
    "save",
]


def __getattr__(name: str) -> Any:
    """`Transport` at first use: asking for help needs no HTTP."""
    if name != "Transport":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from normlab.client.transport import Transport

    return Transport
