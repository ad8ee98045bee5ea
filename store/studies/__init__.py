"""Studies, and their verdicts."""

from store.studies import studies, verdicts
from store.studies.tallies import (
    BillOutcome,
    StudyStatus,
    Tally,
    TrialTally,
    count_jobs,
    count_trials,
    list_job_ids,
    status_of,
)
from store.studies.verdicts import Kept, KeptFile

__all__ = [
    "BillOutcome",
    "Kept",
    "KeptFile",
    "StudyStatus",
    "Tally",
    "TrialTally",
    "count_jobs",
    "count_trials",
    "list_job_ids",
    "status_of",
    "studies",
    "verdicts",
]
