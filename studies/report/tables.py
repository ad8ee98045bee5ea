"""A comparison and its claims as tables of words, accuracies in percent, and such a table as Markdown, LaTeX or CSV."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from studies.claims import ClaimVerdict, ours
from studies.comparison import Axis, Comparison, Slope, VariantSummary
from studies.stats import (
    Interval,
    format_p_value,
    is_share,
)

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """Plain words; the first column is a name, the others are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def variants_table(comparison: Comparison, *, brief: bool = False) -> Table:
    """A row per arm; `brief`: what a paper shows."""
    metric = comparison.metric
    columns = dict(_columns(comparison))
    if brief:
        columns = {name: column for name, column in columns.items() if name not in _NOT_BRIEF}
        for name in _UNLESS_ALL_ZERO:
            if not any(getattr(one, name) for one in comparison.variants):
                del columns[name]
    unit = ", %" if is_share(metric) else ""
    header = (title.format(metric=metric.replace("_", " ") + unit) for title in columns)
    rows = ((one.name, *(cell(one) for cell in columns.values())) for one in comparison.variants)
    return Table(("variant", *header), tuple(rows))


def axis_table(axis: Axis, comparison: Comparison) -> Table:
    """Means per variant at each value of the axis."""
    rows = (
        (variant, *(_number(value, comparison.metric) for value in axis.table[variant]))
        for variant in _ordered(axis, comparison)
    )
    return Table(("variant", *map(str, axis.values)), tuple(rows))


def slopes_table(axis: Axis, comparison: Comparison) -> Table:
    """How each variant moves along the axis, and how that differs from the baseline."""
    metric, by_variant = comparison.metric, {one.variant: one for one in axis.slopes}
    unit = " (points)" if is_share(metric) else ""
    header = (
        "variant", "n", f"slope {axis.scale}{unit}", "95 % interval",
        f"minus {comparison.baseline}'s", "95 % interval of it", "p", "p after Holm",
    )  # fmt: skip
    chosen = (by_variant[name] for name in _ordered(axis, comparison) if name in by_variant)
    return Table(header, tuple(_slope_row(one, metric) for one in chosen))


def claims_table(verdicts: Sequence[ClaimVerdict]) -> Table:
    """A row per claim: the paper's number beside ours."""
    header = ("claim", "verdict", "here", "reported before", "n", "p after Holm")
    return Table(header, tuple(_claim_row(one) for one in verdicts))


def to_markdown(table: Table) -> str:
    """A pipe table; what a cell says is text, never markup."""
    lines = [table.header, ("---", *("--:" for _ in table.header[1:])), *table.rows]
    cells = (
        (one if number == 1 else [*map(markdown_text, one)]) for number, one in enumerate(lines)
    )
    return "\n".join(f"| {' | '.join(one)} |" for one in cells)


def to_latex(table: Table, caption: str, label: str) -> str:
    """A `table` for a paper that uses booktabs."""
    rows = (" & ".join(map(latex_text, row)) + r" \\" for row in table.rows)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{latex_text(caption)}}}",
            rf"  \label{{{label}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"    \toprule",
            "    " + " & ".join(map(latex_text, table.header)) + r" \\",
            r"    \midrule",
            *(f"    {row}" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_csv(comparison: Comparison) -> str:
    """For programs: a row per arm, numbers unrounded and in the metric's own unit, each under a name of
    its own."""
    content = io.StringIO()
    rows = [_flat(one) for one in comparison.variants]
    writer = csv.DictWriter(content, list(rows[0]) if rows else ["variant"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()


def markdown_text(text: str) -> str:
    """Text that Markdown takes for nothing else; on one line."""
    # What a person has typed (names of variants, of studies) must not become a heading, a link or HTML.
    escaped = re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", text)
    return re.sub(r"\s+", " ", escaped)


def latex_text(text: str) -> str:
    """Text that LaTeX takes for nothing else; signs stand as in mathematics."""
    # `\0` marks signs before digits, which are set as in mathematics; the second pass then escapes all the rest
    # in one go, so that no escape is escaped again.
    signed = re.sub(r"(?<![\w.)-])([-+])(?=\d)", r"\0\1", re.sub(r"\s+", " ", text))
    return re.sub(r"\0[-+]|[\\&%$#_{}~^±·<>–]", lambda found: _LATEX[found[0]], signed)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "·": r"$\cdot$", "<": "$<$", ">": "$>$", "–": "--",
    "\0-": "$-$", "\0+": "$+$",
}  # fmt: skip


def _columns(comparison: Comparison) -> Iterator[tuple[str, Any]]:
    """Title and cell; `{metric}` in a title is the metric with its unit."""
    metric, baseline = comparison.metric, comparison.baseline
    unit = " (points)" if is_share(metric) else ""

    def of_difference(one: VariantSummary, name: str) -> Any:
        return getattr(one.difference, name) if one.difference is not None else None

    yield "n", lambda one: str(one.n)
    yield "{metric}", lambda one: _mean(one, metric)
    yield "95 % interval", lambda one: _interval(one.interval, metric)
    yield "median", lambda one: _number(one.median, metric)
    yield "IQM", lambda one: _number(one.interquartile_mean, metric)
    yield (
        # The title is formatted once more with the metric: braces in a variant's name are kept as they are.
        f"difference to {baseline}{unit}".replace("{", "{{").replace("}", "}}"),
        lambda one: (
            "baseline"
            if one.variant == baseline
            else _number(of_difference(one, "mean"), metric, "+")
        ),
    )
    yield (
        "95 % interval of it",
        lambda one: _interval(of_difference(one, "interval"), metric, "+"),
    )
    yield "p", lambda one: _p_value(of_difference(one, "p_value"))
    yield "p after Holm", lambda one: _p_value(of_difference(one, "p_adjusted"))
    yield "decision", lambda one: of_difference(one, "decision") or ""
    if any(one.still_improving for one in comparison.variants):
        yield "still improving", lambda one: str(one.still_improving)
    yield "diverged", lambda one: str(one.diverged)
    yield "failed", lambda one: str(one.failed)


_NOT_BRIEF = frozenset({"median", "IQM", "p"})
_UNLESS_ALL_ZERO = ("diverged", "failed")


def _flat(one: VariantSummary) -> dict[str, Any]:
    difference = one.difference
    low, high = one.interval or (None, None)
    difference_low, difference_high = (difference and difference.interval) or (None, None)
    return {
        "variant": one.name,
        **{name: getattr(one, name) for name in _OF_VARIANT},
        "low": low,
        "high": high,
        "difference": difference and difference.mean,
        "difference_low": difference_low,
        "difference_high": difference_high,
        **{name: difference and getattr(difference, name) for name in _OF_DIFFERENCE},
        "epochs": one.epochs.mean,
        "best_epoch": one.epochs.best_mean,
        "best_seconds": one.epochs.best_seconds,
        "steps_to_threshold": one.to_threshold and one.to_threshold.steps,
        "reached_threshold": one.to_threshold and one.to_threshold.reached,
        "still_improving": one.still_improving,
        "diverged": one.diverged,
        "failed": one.failed,
    }


_OF_VARIANT = ("n", "mean", "std", "median", "interquartile_mean", "best", "worst", "validation")
_OF_DIFFERENCE = (
    "p_value", "p_adjusted", "decision", "wilcoxon_p_value", "probability_of_improvement",
    "effect_size", "equivalence_p_value", "seeds_needed",
)  # fmt: skip


def _slope_row(one: Slope, metric: str) -> tuple[str, ...]:
    difference = one.difference
    return (
        one.variant,
        str(one.n),
        _number(one.mean, metric, "+"),
        _interval(one.interval, metric, "+"),
        "baseline" if difference is None else _number(difference.mean, metric, "+"),
        NOTHING if difference is None else _interval(difference.interval, metric, "+"),
        NOTHING if difference is None else _p_value(difference.p_value),
        NOTHING if difference is None else _p_value(difference.p_adjusted),
    )


def _claim_row(one: ClaimVerdict) -> tuple[str, ...]:
    p_value = _p_value(one.p_adjusted)
    return (one.says, one.verdict, ours(one), one.paper or NOTHING, str(one.n), p_value)


def _ordered(axis: Axis, comparison: Comparison) -> Sequence[str]:
    """The axis' variants in the order of the study."""
    order = dict.fromkeys(one.variant for one in comparison.variants)
    return [name for name in order if name in axis.table]


def _p_value(value: float | None) -> str:
    return NOTHING if value is None else format_p_value(value)


def _mean(one: VariantSummary, metric: str) -> str:
    mean = _number(one.mean, metric)
    return mean if one.std is None else f"{mean} ± {_number(one.std, metric)}"


def _interval(interval: Interval | None, metric: str, sign: str = "") -> str:
    return (
        NOTHING if interval is None else " to ".join(_number(one, metric, sign) for one in interval)
    )


def _number(value: float | None, metric: str, sign: str = "") -> str:
    """In percent, or percentage points, if it is an accuracy."""
    if value is None:
        return NOTHING
    return f"{value * 100:{sign}.2f}" if is_share(metric) else f"{value:{sign}.4g}"
