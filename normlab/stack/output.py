"""What the supervisor says: to its own log, which in the foreground is a terminal."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any


def log_error(text: str) -> None:
    """To the supervisor's own log; in the foreground that is a terminal, which may be gone."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def show_nothing(state: Mapping[str, Any]) -> None:
    """Takes the place of a `show` that has failed."""


def log_remarks() -> Callable[[Mapping[str, Any]], None]:
    said: set[str] = set()

    def show(state: Mapping[str, Any]) -> None:
        for remark in state["remarks"]:
            if remark not in said:
                said.add(remark)
                log_error(remark)

    return show
