"""The Celery application that consumes this host's wake-ups."""

from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from celery.signals import setup_logging

from store.jobs import QUEUE
from worker.settings import Settings

#: Reconnecting is forever; waiting for one answer is not.
TRANSPORT: dict[str, Any] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "health_check_interval": 5,
    "socket_keepalive": True,
}


def make_app(settings: Settings) -> Celery:
    """A wake-up is acknowledged when taken, fetched only for an idle child, and has no result."""
    app = Celery("normlab", broker=settings.redis_url, backend=None, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE.format(host=settings.host_name),
        accept_content=["json"],
        task_acks_late=False,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_lost_wait=0.5,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_timeout=2.0,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=TRANSPORT,
        broker_heartbeat=0,
    )
    return app


def when_forked(app: Celery, begin: Callable[[], None]) -> None:
    """Calls `begin` once the children are there.

    Threads belong in it: what one holds while a process forks (the lock of a module that it imports, say) is
    held in the child for ever.
    """

    class Begin(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            begin()

    app.steps["worker"].add(Begin)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _leave_logging_alone(**_: Any) -> None:
    """Celery configures no logging if this signal has a receiver; `runtime.logs` did it."""
