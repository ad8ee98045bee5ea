"""The tables. Wide where a column has a standard meaning, JSON for the rest; every time is timestamptz.

Relationships are never loaded implicitly (`lazy="raise"`): a query that needs one names it.
"""

from store.db.models.accounts import (
    ROLES,
    AuditRecord,
    BrowserSession,
    Dataset,
    IdempotencyKey,
    Project,
    Token,
    User,
)
from store.db.models.hosts import Device, Footprint, Lease, Reservation, Storage, Worker
from store.db.models.jobs import (
    ATTEMPT_ENDS,
    COUNTED_ENDS,
    FINAL_STATUSES,
    IN_LINE,
    JOB_STATUSES,
    PRIORITIES,
    REASONS,
    REQUESTED_ACTIONS,
    Attempt,
    Checkpoint,
    Diagnosis,
    Epoch,
    File,
    Job,
    LogLine,
    Study,
    Transition,
)
from store.db.models.mirror import MIRROR_PROBLEMS, Mirrored, MirrorProblem
from store.db.models.results import VERDICTS, Result, Verdict
from store.db.models.scheduling import HALF_LIFE_SECONDS, HalfLife, Limit, StartEstimate, Usage
from store.db.models.table import Table

__all__ = [
    "ATTEMPT_ENDS",
    "COUNTED_ENDS",
    "FINAL_STATUSES",
    "HALF_LIFE_SECONDS",
    "IN_LINE",
    "JOB_STATUSES",
    "MIRROR_PROBLEMS",
    "PRIORITIES",
    "REASONS",
    "REQUESTED_ACTIONS",
    "ROLES",
    "VERDICTS",
    "Attempt",
    "AuditRecord",
    "BrowserSession",
    "Checkpoint",
    "Dataset",
    "Device",
    "Diagnosis",
    "Epoch",
    "File",
    "Footprint",
    "HalfLife",
    "IdempotencyKey",
    "Job",
    "Lease",
    "Limit",
    "LogLine",
    "MirrorProblem",
    "Mirrored",
    "Project",
    "Reservation",
    "Result",
    "StartEstimate",
    "Storage",
    "Study",
    "Table",
    "Token",
    "Transition",
    "Usage",
    "User",
    "Verdict",
    "Worker",
]
