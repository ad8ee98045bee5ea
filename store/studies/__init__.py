"""Studies, and their verdicts."""

from store.studies import studies, verdicts
from store.studies.tallies import (
    BillOutcome,
    Pace,
    StudyStatus,
    Tally,
    TrialTally,
    count_cells,
    count_jobs,
    count_trials,
    list_job_ids,
    list_unchosen,
    measure_pace,
    status_of,
)
from store.studies.verdicts import Kept, KeptFile

__all__ = [
    "BillOutcome",
    "Kept",
    "KeptFile",
    "Pace",
    "StudyStatus",
    "Tally",
    "TrialTally",
    "count_cells",
    "count_jobs",
    "count_trials",
    "list_job_ids",
    "list_unchosen",
    "measure_pace",
    "status_of",
    "studies",
    "verdicts",
]
