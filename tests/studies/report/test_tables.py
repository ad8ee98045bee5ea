"""A comparison as a table: numbers as a paper has them, and names that no format takes for markup."""

import csv
import io
import re

import pytest

from studies.comparison.schemas import Comparison
from studies.report.tables import (
    Table,
    axis_table,
    latex_text,
    markdown_text,
    slopes_table,
    to_csv,
    to_latex,
    to_markdown,
    variants_table,
)
from tests.support.reports import make_report

HOSTILE = r"""a|b\ & 50% $x$ #1 _i_ {y} ~ ^ <script>`*[z](http://x) """


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return make_report(insides=False).comparison


def test_the_table_says_in_percent_what_the_comparison_knows(comparison: Comparison) -> None:
    table = variants_table(comparison)
    assert len({len(row) for row in (table.header, *table.rows)}) == 1
    none, batch, _ = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    one = comparison.variants[1]
    difference = one.difference
    assert difference is not None
    assert difference.mean is not None
    assert difference.interval is not None
    assert one.mean is not None
    assert one.std is not None
    assert batch["test accuracy, %"] == f"{100 * one.mean:.2f} ± {100 * one.std:.2f}"
    assert batch["difference to none (points)"] == f"{100 * difference.mean:+.2f}"
    low, high = difference.interval
    assert batch["95 % interval of it"] == f"{100 * low:+.2f} to {100 * high:+.2f}"
    assert batch["decision"] == difference.decision
    assert none["difference to none (points)"] == "baseline"
    assert (none["n"], none["diverged"], none["failed"]) == ("8", "1", "0")


def test_a_loss_is_in_its_own_unit(comparison: Comparison) -> None:
    table = variants_table(comparison.model_copy(update={"metric": "test_loss"}))
    assert "test loss" in table.header
    assert "difference to none" in table.header
    assert table.rows[1][2].startswith("0.9")


def test_a_paper_has_no_columns_of_zeros(comparison: Comparison) -> None:
    header = variants_table(comparison, brief=True).header
    assert "diverged" in header
    assert not {"failed", "median", "IQM"} & set(header)


def test_a_markdown_table_has_as_many_cells_everywhere() -> None:
    text = to_markdown(Table(("variant", "n"), ((HOSTILE, "1"), ("b\nc", "-2"))))
    lines = text.splitlines()
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "<script>" not in text
    assert "b c" in lines[3]


def test_markdown_text_is_read_as_it_was_written() -> None:
    from markdown_it import MarkdownIt

    rendered = MarkdownIt().render(markdown_text(HOSTILE))
    assert rendered.startswith("<p>")
    for tag in ("<em", "<strong", "<code", "<a ", "<script"):
        assert tag not in rendered


def test_latex_text_has_no_command_and_no_open_brace_of_its_own() -> None:
    text = latex_text(HOSTILE)
    assert r"\textbackslash{}" in text
    for sign in "&%$#_":
        assert f"\\{sign}" in text
    bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$[<>]\$", "", text)
    assert not re.search(r"[\\&%$#_{}~^<>]", bare)
    assert latex_text("-0.12 to +3.4 a-1 (+2)") == "$-$0.12 to $+$3.4 a-1 ($+$2)"


def test_a_latex_table_is_whole(comparison: Comparison) -> None:
    text = to_latex(variants_table(comparison, brief=True), "A caption: 50 %", "tab:s2")
    assert r"\caption{A caption: 50 \%}" in text
    for part in ("toprule", "midrule", "bottomrule", r"label{tab:s2}"):
        assert f"\\{part}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 4
    columns = re.search(r"begin{tabular}{(l+r+)}", text)
    assert columns is not None
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns[1]) - 1}


def test_csv_has_the_numbers_unrounded(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert [row["variant"] for row in rows] == ["none", "batch", "group"]
    difference = comparison.variants[1].difference
    assert difference is not None
    assert float(rows[1]["mean"]) == comparison.variants[1].mean
    assert float(rows[1]["difference"]) == difference.mean
    assert float(rows[1]["p_adjusted"]) == difference.p_adjusted
    assert rows[0]["difference"] == ""


def test_csv_keeps_the_columns_that_programs_read() -> None:
    comparison = make_report(insides=False).comparison
    [header] = csv.reader(io.StringIO(to_csv(comparison).splitlines()[0]))
    assert header == [
        "variant", "n", "mean", "std", "median", "interquartile_mean", "best", "worst", "validation", "low", "high",
        "difference", "difference_low", "difference_high", "p_value", "p_adjusted", "decision", "wilcoxon_p_value",
        "probability_of_improvement", "effect_size", "equivalence_p_value", "seeds_needed", "epochs", "best_epoch",
        "best_seconds", "steps_to_threshold", "reached_threshold", "still_improving", "diverged", "failed",
    ]  # fmt: skip


def test_an_axis_has_its_means_and_slopes() -> None:
    comparison = make_report(matrix={"training.batch_size": [64, 8]}, insides=False).comparison
    [axis] = comparison.axes
    means, slopes = axis_table(axis, comparison), slopes_table(axis, comparison)
    assert means.header == ("variant", "64", "8")
    assert [row[0] for row in means.rows] == ["none", "batch", "group"]
    first = axis.table["batch"][0]
    assert first is not None
    assert means.rows[1][1] == f"{100 * first:.2f}"
    assert "slope per doubling (points)" in slopes.header
    assert slopes.rows[0][4] == "baseline"


def test_explanations_name_what_went_wrong_and_what_differs(comparison: Comparison) -> None:
    assert "p after Holm" in comparison.reading
    first, second = comparison.sensitivities
    assert first.startswith("batch to none without the seeds")
    assert "(1)" in second
    [follows] = comparison.consequences
    assert follows.startswith("the number of parameters of norms, by norm.")
    assert not [one for one in comparison.confounds if not one.causes]
