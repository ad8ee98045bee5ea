"""Values that PostgreSQL or JSON cannot store: numbers that aren't finite, NUL, lone surrogates, very long text."""

import math
from collections.abc import Mapping

#: The end of a longer text is kept: that is where a traceback says what happened.
MAX_TEXT = 64_000


def split_finite(
    metrics: Mapping[str, float | None],
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The metrics with None for values that aren't finite, and these by name as `nan`, `inf` or `-inf`."""
    finite: dict[str, float | None] = {}
    non_finite: dict[str, str] = {}
    for name, value in metrics.items():
        if value is None or math.isfinite(value):
            finite[name] = value
        else:
            finite[name] = None
            non_finite[name] = str(float(value))
    return finite, non_finite


def sanitize_text(text: str) -> str:
    """The text without NUL, which PostgreSQL refuses, without lone surrogates, and not too long."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return clean if len(clean) <= MAX_TEXT else "…" + clean[-MAX_TEXT:]
