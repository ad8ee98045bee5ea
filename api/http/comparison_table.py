"""Comparison tables as CSV, Markdown and LaTeX."""

from typing import Any, Literal, TypeAlias, assert_never

from fastapi.responses import Response

from studies.comparison import Comparison
from studies.report import to_csv, to_latex, to_markdown, variants_table

TableFormat: TypeAlias = Literal["csv", "markdown", "latex"]

TYPES: dict[TableFormat, str] = {
    "csv": "text/csv", "markdown": "text/markdown", "latex": "application/x-latex",
}  # fmt: skip
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
