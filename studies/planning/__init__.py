"""What a study will be before it is trained: how long it takes, and what can come of it."""

from studies.planning import outlook
from studies.planning.estimates import ArmWork, estimate
from studies.planning.outlook import growth_notes, repeat_notes

__all__ = [
    "ArmWork",
    "estimate",
    "growth_notes",
    "outlook",
    "repeat_notes",
]
