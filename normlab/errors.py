"""What can go wrong between a person and the service, in words for the person.

NormlabError
├── NotReachable   no answer at all
├── WaitedTooLong  a wait ran into its timeout
├── Refused        the service answered with a problem (RFC 9457)
├── StackError     the local stack cannot do what was asked
└── ServerError    PostgreSQL or Redis could not be started
"""

from collections.abc import Mapping
from typing import Any


class NormlabError(Exception):
    """Something that the message explains."""


class NotReachable(NormlabError):
    """The service does not answer."""


class WaitedTooLong(NormlabError):
    """It isn't finished yet."""


class StackError(NormlabError):
    """The local stack cannot do what was asked; the message says what to do about it."""


class ServerError(NormlabError):
    """A local server could not be started."""


class Refused(NormlabError):
    """The service said no; `problem` holds its details, `status` the HTTP status."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__("\n".join(_lines(status, problem)))
        self.status = status
        self.problem = dict(problem)


def _lines(status: int, problem: Mapping[str, Any]) -> list[str]:
    errors = problem.get("errors") or []
    title, detail = problem.get("title") or f"HTTP {status}", problem.get("detail")
    # With a list of errors the detail only repeats the first of them.
    lines = [f"{title} ({status})" if errors or not detail else f"{title} ({status}): {detail}"]
    for error in errors:
        place = error.get("pointer") or error.get("parameter") or "the document"
        layer = f" (layer {error['layer']})" if error.get("layer") else ""
        lines.append(f"  {place}: {error.get('detail')}{layer}")
        if error.get("remedy"):
            lines.append(f"    try: {error['remedy']}")
    if status == 401:
        lines.append("  set NORMLAB_TOKEN, or NORMLAB_HOME to the home of a local stack")
    if problem.get("instance"):
        lines.append(f"  {problem['instance']}")
    return lines
