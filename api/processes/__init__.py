"""Helper processes under supervision: the check of specs, and drawing."""

from api.processes.check_queue import MOST_PLACES
from api.processes.one_each import OneEach
from api.processes.render_queue import Pending, RendererBusy, RenderQueue
from api.processes.spec_checker import Checker, CheckerUnavailable, NoPicture, StillChecking

__all__ = [
    "MOST_PLACES",
    "Checker",
    "CheckerUnavailable",
    "NoPicture",
    "OneEach",
    "Pending",
    "RenderQueue",
    "RendererBusy",
    "StillChecking",
]
