"""The life of a job: submitted, queued, acquired, recorded, ended, rescued."""

from store.jobs import (
    commands,
    creation,
    leases,
    limits,
    maintenance,
    obstacles,
    preemption,
    queue,
    usage,
    wakeups,
)
from store.jobs.acquire import AssignedDevice, Assignment, Settled
from store.jobs.attempts import Renewed
from store.jobs.creation import NewJob, Submission
from store.jobs.intake import Intake
from store.jobs.leases import Instance, is_any_alive
from store.jobs.limits import Limits
from store.jobs.maintenance import EndedAttempt
from store.jobs.obstacles import HINDRANCES, Obstacle, WaitReason
from store.jobs.queue import Waiting
from store.jobs.wakeups import QUEUE, Waker

__all__ = [
    "HINDRANCES",
    "QUEUE",
    "AssignedDevice",
    "Assignment",
    "EndedAttempt",
    "Instance",
    "Intake",
    "Limits",
    "NewJob",
    "Obstacle",
    "Renewed",
    "Settled",
    "Submission",
    "WaitReason",
    "Waiting",
    "Waker",
    "commands",
    "creation",
    "is_any_alive",
    "leases",
    "limits",
    "maintenance",
    "obstacles",
    "preemption",
    "queue",
    "usage",
    "wakeups",
]
