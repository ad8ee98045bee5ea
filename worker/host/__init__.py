"""The parent process of a host: its Celery app, children, devices and name."""

from worker.host.celery_app import make_app, when_forked
from worker.host.child import add_task, import_ahead
from worker.host.child_watch import ChildWatch, end_attempts_of_the_dead
from worker.host.devices import HostDevice, find_devices
from worker.host.host_lock import HostName, find_namespace, is_gone, make_instance
from worker.host.host_report import HostReport

__all__ = [
    "ChildWatch",
    "HostDevice",
    "HostName",
    "HostReport",
    "add_task",
    "end_attempts_of_the_dead",
    "find_devices",
    "find_namespace",
    "import_ahead",
    "is_gone",
    "make_app",
    "make_instance",
    "when_forked",
]
