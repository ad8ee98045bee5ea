"""Errors of the client, the command and the local stack, with messages for the user.

NormlabError
├── NotReachable   no answer at all
├── WaitedTooLong  a wait ran into its timeout
├── Refused        the service answered with a problem (RFC 9457)
├── NoToken        the service needs a token, and none is meant for it
├── Unreadable     a file that isn't there, or holds no YAML or JSON
├── StackError     the local stack cannot do what was asked
└── ServerError    PostgreSQL or Redis could not be started
"""

import shlex
from collections.abc import Mapping
from typing import Any


class NormlabError(Exception):
    """Base of all errors; the message explains what happened."""


class NotReachable(NormlabError):
    """The service does not answer."""


class WaitedTooLong(NormlabError):
    """It isn't finished yet."""


class NoToken(NormlabError):
    """The service needs a token, and none is meant for it."""


class Unreadable(NormlabError):
    """A file cannot be read, or what it holds is neither YAML nor JSON."""


class StackError(NormlabError):
    """The local stack cannot do what was asked; the message says what to do about it."""


class ServerError(NormlabError):
    """A local server could not be started."""


class Refused(NormlabError):
    """The service rejected the request; `problem` holds its details, `status` the HTTP status.

    `document`: the name of what was sent, where its lines are those that a person wrote.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], document: str | None = None
    ) -> None:
        super().__init__("\n".join(_lines(status, problem, document)))
        self.status = status
        self.problem = dict(problem)


def _lines(status: int, problem: Mapping[str, Any], document: str | None) -> list[str]:
    errors = problem.get("errors") or []
    lines = [line for error in errors for line in _error_lines(error, document)]
    if len(errors) > 1:
        lines.insert(0, f"{len(errors)} problems" + (f" in {document}" if document else ""))
    elif not errors:
        lines = [_headline(status, problem)]
    if status == 401:
        lines.append("  set NORMLAB_TOKEN, or NORMLAB_HOME to the home of a local stack")
    if problem.get("instance"):
        lines.append(f"  {problem['instance']}")
    return lines


def _error_lines(error: Mapping[str, Any], document: str | None) -> list[str]:
    """`study.yaml:12: /base/norm/kind: what is wrong`, and below it what would be right."""
    place = error.get("pointer") or error.get("parameter")
    layer = f" (layer {error['layer']})" if error.get("layer") else ""
    parts = [_source(error, document), place or "", f"{error.get('detail')}{layer}"]
    lines = [": ".join(part for part in parts if part)]
    if error.get("remedy"):
        lines.append(f"  try: {error['remedy']}")
    return lines


def _source(error: Mapping[str, Any], document: str | None) -> str:
    """What a person has to change: a line of the file, or an option of the command."""
    if error.get("setting"):
        return f"--set {shlex.quote(error['setting'])}"
    line = f":{error['line']}" if error.get("line") else ""
    return f"{document}{line}" if document else ""


def _headline(status: int, problem: Mapping[str, Any]) -> str:
    """The detail says it all, unless what went wrong is the service or what stands before it."""
    title, detail = problem.get("title") or f"HTTP {status}", problem.get("detail")
    if detail and status < 500:
        return str(detail)
    return f"{title} ({status})" + (f": {detail}" if detail else "")
