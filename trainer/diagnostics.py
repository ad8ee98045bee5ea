"""What goes on inside a network while it trains. Under construction."""

from typing import Any


def build_probe(*arguments: Any) -> Any:
    return None
