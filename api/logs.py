"""Where the API's log lines go: structured, to stderr."""

import logging
import sys

import structlog


def configure_logging(level: str) -> None:
    """JSON lines for our own words; uvicorn keeps its access log."""
    logging.basicConfig(level=level, stream=sys.stderr)
    # Says two lines at INFO whenever somebody asks whether we are ready.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
