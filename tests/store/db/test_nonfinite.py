"""What goes into SQL is finite and can be stored."""

import math

from store.db.nonfinite import MAX_TEXT, sanitize_text, split_finite


def test_what_is_not_finite_is_none_and_named() -> None:
    metrics = {"a": 1.5, "b": math.nan, "c": math.inf, "d": -math.inf, "e": None, "f": 3}

    assert split_finite(metrics) == (
        {"a": 1.5, "b": None, "c": None, "d": None, "e": None, "f": 3},
        {"b": "nan", "c": "inf", "d": "-inf"},
    )


def test_a_long_text_keeps_its_end() -> None:
    kept = sanitize_text("x" * MAX_TEXT + "the end")

    assert kept.startswith("…")
    assert kept.endswith("the end")
    assert len(kept) == MAX_TEXT + 1


def test_what_postgresql_refuses_is_replaced() -> None:
    assert sanitize_text("a\x00b\udcffc") == "a\ufffdb?c"
