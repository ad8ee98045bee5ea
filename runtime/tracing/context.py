"""Where a span belongs, as W3C's `traceparent` says it: rows keep it, so that what happens hours later in another process
continues the trace."""

import re
from contextvars import ContextVar
from hashlib import blake2b

#: Of the request that is being answered; None: it has no span.
current_context: ContextVar[str | None] = ContextVar("current_context", default=None)

_PATTERN = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


def trace_id(context: str | None) -> str | None:
    """As a user looks it up; None where there is none."""
    match = _PATTERN.fullmatch(context or "")
    return match["trace"] if match else None


def span_id(context: str | None) -> int | None:
    match = _PATTERN.fullmatch(context or "")
    return int(match["span"], 16) if match else None


def attempt_context(context: str, job_id: int, attempt: int) -> str | None:
    """Of an attempt of a job that was submitted in `context`; None where that is malformed.

    It follows from what everybody knows: the parts of an attempt that its process has sent have their place even if that
    process is killed, and another one has to say how the attempt ended.
    """
    match = _PATTERN.fullmatch(context)
    if match is None:
        return None
    name = f"{match['trace']} {job_id} {attempt}"
    span = blake2b(name.encode(), digest_size=8).hexdigest()
    return f"00-{match['trace']}-{span}-{match['flags']}"
