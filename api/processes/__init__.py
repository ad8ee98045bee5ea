"""Helper processes under supervision: the check of specs, and drawing."""

from api.processes.check_queue import MOST_PLACES
from api.processes.helper import Limits
from api.processes.render_cache import Drawing
from api.processes.renderer import Drawer, DrawerBusy, DrawingFailed, Pending
from api.processes.spec_checker import Checker, CheckerUnavailable, NoPicture, StillChecking

__all__ = [
    "MOST_PLACES",
    "Checker",
    "CheckerUnavailable",
    "Drawer",
    "DrawerBusy",
    "Drawing",
    "DrawingFailed",
    "Limits",
    "NoPicture",
    "Pending",
    "StillChecking",
]
