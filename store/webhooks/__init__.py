"""Webhooks: their targets, the outbox of what has ended, and the deliveries of messages."""

from store.webhooks import deliveries, ends, targets
from store.webhooks.deliveries import Due, Outcome
from store.webhooks.ends import Ended, EndedStudy, Message
from store.webhooks.targets import MOST, NewTarget, State

__all__ = [
    "MOST",
    "Due",
    "Ended",
    "EndedStudy",
    "Message",
    "NewTarget",
    "Outcome",
    "State",
    "deliveries",
    "ends",
    "targets",
]
