"""The local stack: its servers, and the supervisor that keeps them running."""

from normlab.stack import control, joining
from normlab.stack.activity import last_line

__all__ = [
    "control",
    "joining",
    "last_line",
]
