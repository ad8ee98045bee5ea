"""Studies, and their verdicts."""

from store.studies import studies, verdicts
from store.studies.verdicts import Kept, KeptFile

__all__ = [
    "Kept",
    "KeptFile",
    "studies",
    "verdicts",
]
