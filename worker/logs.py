"""Where log lines go: structured to stderr, and a job's warnings also to its own log."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

#: Libraries that say at INFO what nobody needs.
QUIET = ("alembic", "celery.redirected", "httpx", "kombu", "PIL", "matplotlib")


def configure_logging(level: str) -> None:
    """JSON lines on stderr for this process. Through `logging`, whose locks survive a fork."""
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Forward(logging.Handler):
    """Hands warnings and worse to a job's log."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.levelname.lower(), _plain(record))


@contextmanager
def forwarded_warnings(say: Callable[[str, str], None]) -> Iterator[None]:
    """While open, every warning or error that this process logs is also said to `say(level, text)`."""
    handler = _Forward(say)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _plain(record: logging.LogRecord) -> str:
    """The sentence of a structured record, or the message of any other."""
    if isinstance(record.msg, dict):
        return str(record.msg.get("event", ""))
    return record.getMessage().strip()
