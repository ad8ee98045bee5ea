"""What a module of tests may take: it fails when its tests use up more CPU time.

The limits are 2 to 6 times what was measured: they catch a test of minutes, not a slow day. Time
counts in this process and in those that a test starts and waits for, not in a stack that runs on.
"""

import os

import pytest

SECONDS = 150.0
#: Of modules that need more; behind each, the CPU seconds of the module run alone, imports included.
OF_MODULE: dict[str, float] = {}


class Budget:
    """Measures one module after the other."""

    def __init__(self) -> None:
        self._since = cpu_seconds()

    def start(self) -> None:
        self._since = cpu_seconds()

    def used(self) -> float:
        return cpu_seconds() - self._since


def cpu_seconds() -> float:
    return sum(os.times()[:4])


def complaint(module: str, used: float) -> str | None:
    """None where the module kept to its limit."""
    limit = OF_MODULE.get(module, SECONDS)
    if used <= limit:
        return None
    return (
        f"the tests of {module} took {used:.0f} s of CPU time, and their limit is {limit:.0f} s: make them "
        "cheaper (--durations=20 shows the slowest), or raise the limit in tests/support/budgets.py and say why"
    )


def ends_module(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    return nextitem is None or nextitem.path != item.path
