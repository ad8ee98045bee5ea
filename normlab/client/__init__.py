"""The Python client."""

from normlab.client.client import FINAL, Client
from normlab.client.dataframes import exported_frame
from normlab.client.documents import read_mapping
from normlab.client.ids import Reference
from normlab.client.readiness import LINE_SECONDS
from normlab.client.transport import Transport, outlast_outage, save

__all__ = [
    "FINAL",
    "LINE_SECONDS",
    "Client",
    "Reference",
    "Transport",
    "exported_frame",
    "outlast_outage",
    "read_mapping",
    "save",
]
