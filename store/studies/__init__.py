"""Studies, and their verdicts."""

from store.studies import studies, verdicts
from store.studies.tallies import (
    BillOutcome,
    Tally,
    TrialTally,
    count_jobs,
    count_trials,
    list_job_ids,
)
from store.studies.verdicts import Kept, KeptFile

__all__ = [
    "BillOutcome",
    "Kept",
    "KeptFile",
    "Tally",
    "TrialTally",
    "count_jobs",
    "count_trials",
    "list_job_ids",
    "studies",
    "verdicts",
]
