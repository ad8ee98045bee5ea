"""Comparisons, of a study or of groups side by side, as tables: CSV, Markdown and LaTeX."""

from typing import Any, Literal, TypeAlias, assert_never

from fastapi.responses import Response

from studies.comparison import Comparison
from studies.report import Table, to_csv, to_latex, to_markdown, variants_table
from studies.results import ComparedGroup, SideBySide, write_csv
from studies.stats import amount, bounds, format_p_value, gap

TableFormat: TypeAlias = Literal["csv", "markdown", "latex"]

TYPES: dict[TableFormat, str] = {
    "csv": "text/csv", "markdown": "text/markdown", "latex": "application/x-latex",
}  # fmt: skip
_NOTHING = "–"
#: For a route's OpenAPI.
TABLES: dict[int | str, dict[str, Any]] = {200: {"content": {one: {} for one in TYPES.values()}}}


def respond_with_table(comparison: Comparison, study: str, format: TableFormat) -> Response:
    """CSV has the numbers unrounded; the others have them as people write them."""
    match format:
        case "csv":
            text = to_csv(comparison)
        case "markdown":
            text = to_markdown(variants_table(comparison)) + "\n"
        case "latex":
            table = variants_table(comparison, brief=True)
            text = to_latex(table, _caption(comparison, study), f"tab:{study.replace(' ', '-')}")
        case _:
            assert_never(format)
    return Response(text, media_type=TYPES[format])


def _caption(comparison: Comparison, study: str) -> str:
    metric = comparison.metric.replace("_", " ")
    return (
        f"{metric.capitalize()} of {study}: mean ± standard deviation over n seeds; differences to "
        f"{comparison.baseline} are paired by seed."
    )


def respond_with_groups(comparison: SideBySide, format: TableFormat) -> Response:
    """As `respond_with_table`."""
    match format:
        case "csv":
            text = write_csv(comparison)
        case "markdown":
            text = to_markdown(_list_groups(comparison)) + "\n"
        case "latex":
            metric = comparison.metric.replace("_", " ")
            caption = (
                f"{metric.capitalize()}: mean ± standard deviation over n jobs; differences to {comparison.reference} are "
                f"paired by seed and settings. Exploratory."
            )
            text = to_latex(_list_groups(comparison), caption, "tab:groups")
        case _:
            assert_never(format)
    return Response(text, media_type=TYPES[format])


def _list_groups(comparison: SideBySide) -> Table:
    percent = f"{100 * comparison.confidence:g} %"
    header = (
        "group",
        "jobs",
        "n",
        comparison.metric.replace("_", " "),
        f"{percent} interval",
        f"minus {comparison.reference}",
        f"{percent} interval of it",
        "pairs (at seeds)",
        "p (Holm)",
        "finding",
    )
    rows = (
        (one.name, *describe_group(one, comparison.metric), find_word(one))
        for one in comparison.groups
    )
    return Table(header, tuple(rows))


def describe_group(group: ComparedGroup, metric: str) -> tuple[str, ...]:
    """Its numbers as people write them, from its jobs to p."""
    difference = group.difference
    mean = _NOTHING if group.mean is None else amount(group.mean, metric)
    if group.mean is not None and group.std is not None:
        mean = f"{mean} ± {amount(group.std, metric)}"
    cells = (str(group.jobs), str(group.n), mean, _write_interval(group, metric))
    if difference is None:
        return (*cells, *4 * (_NOTHING,))
    return (
        *cells,
        _NOTHING if difference.mean is None else gap(difference.mean, metric),
        _NOTHING if difference.interval is None else bounds(difference.interval, metric),
        f"{group.pairs} at {difference.n}" if group.pairs != difference.n else str(group.pairs),
        _NOTHING if difference.p_adjusted is None else format_p_value(difference.p_adjusted),
    )


def find_word(group: ComparedGroup) -> str:
    """What is found of it, in a word or two."""
    if group.difference is None:
        return "reference" if group.is_reference else "no pairs"
    too_few = group.difference.p_value is None
    return "too few seeds" if too_few else group.difference.decision or "not judged"


def _write_interval(group: ComparedGroup, metric: str) -> str:
    if group.interval is None:
        return _NOTHING
    return " to ".join(amount(bound, metric) for bound in group.interval)
