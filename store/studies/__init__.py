"""Studies, and their verdicts."""

from store.studies import studies, verdicts
from store.studies.tallies import BillOutcome, Tally, count_jobs
from store.studies.verdicts import Kept, KeptFile

__all__ = [
    "BillOutcome",
    "Kept",
    "KeptFile",
    "Tally",
    "count_jobs",
    "studies",
    "verdicts",
]
