"""The tables. Wide where a column has a standard meaning, JSON for the rest; every time is timestamptz.

Relationships are never loaded implicitly (`lazy="raise"`): a query that needs one names it.
"""

from store.db.models.accounts import (
    ROLES,
    VISIBILITIES,
    AuditRecord,
    BrowserSession,
    Dataset,
    IdempotencyKey,
    Project,
    ProjectMember,
    ProviderIdentity,
    Token,
    User,
)
from store.db.models.deletions import DELETED_KINDS, Deletion
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
    Job,
    Study,
)
from store.db.models.mirror import MIRROR_PROBLEMS, Mirrored, MirrorProblem
from store.db.models.records import Checkpoint, Diagnosis, Epoch, File, LogLine, Transition
from store.db.models.results import VERDICTS, Result, Verdict
from store.db.models.scheduling import HALF_LIFE_SECONDS, HalfLife, Limit, StartEstimate, Usage
from store.db.models.table import Table
from store.db.models.webhooks import WEBHOOK_FORMATS, Delivery, EndedJob, Webhook

__all__ = [
    "ATTEMPT_ENDS",
    "COUNTED_ENDS",
    "DELETED_KINDS",
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
    "VISIBILITIES",
    "WEBHOOK_FORMATS",
    "Attempt",
    "AuditRecord",
    "BrowserSession",
    "Checkpoint",
    "Dataset",
    "Deletion",
    "Delivery",
    "Device",
    "Diagnosis",
    "EndedJob",
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
    "ProjectMember",
    "ProviderIdentity",
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
    "Webhook",
    "Worker",
]
