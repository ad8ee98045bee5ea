"""A comparison as people and programs see it, from answers as the service gives them."""

import csv
import io
from typing import Any

import pytest
from rich.console import Console

from normlab.cli.render.comparison import answer, columns, legend, show_comparison
from normlab.cli.render.output import show_table
from store.results.result_rows import ResultRow
from studies.comparison import Comparison
from studies.report.tables import to_csv
from tests.support.result_rows import alter, change, compare_rows, fake_rows, make_study

STUDY = make_study(("none", "batch", "group"))


def rows() -> list[ResultRow]:
    return fake_rows(STUDY, lambda variant, _: 0.9 + 0.02 * (variant == "group"), seed=1)


def answered(found: list[ResultRow], study: Any = STUDY) -> dict[str, Any]:
    return compare_rows(study, found).model_dump(mode="json")


def csv_rows(comparison: Comparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(comparison))))


def test_the_table_shows_percent_signs_and_decisions() -> None:
    found = answered(rows())
    texts = [
        {column.title: column.text(one) for column in columns(found)} for one in found["variants"]
    ]
    none, _, group = texts
    assert list(none) == [
        "variant", "n", "test accuracy, %", "95 % interval", "difference to none",
        "95 % interval of it", "p (Holm)", "", "epochs to stop", "diverged", "failed",
    ]  # fmt: skip
    assert (none["difference to none"], none["p (Holm)"], none[""]) == ("baseline", "–", "")
    mean = found["variants"][2]["mean"]
    assert group["test accuracy, %"].startswith(f"{100 * mean:.2f} ± ")
    assert group["difference to none"].startswith("+")
    assert (group["p (Holm)"], group[""], group["epochs to stop"]) == ("< 0.001", "better", "10.0")


def test_steps_to_the_study_s_threshold_have_a_column() -> None:
    study = make_study(("none", "group"), threshold={"value": 0.9})
    steps = {11: 100, 12: 140}
    found = compare_rows(study, fake_rows(study, lambda *_: 0.9, seed=1), first_steps=steps)
    answer = found.model_dump(mode="json")
    last = columns(answer)[-1]
    assert last.title == "steps to threshold"
    assert [last.text(one) for one in answer["variants"]] == ["(0 of 10)", "120 (2 of 10)"]
    assert csv_rows(found)[1]["steps_to_threshold"] == "120.0"


def test_for_programs_there_is_a_number_per_column() -> None:
    comparison = compare_rows(STUDY, rows())
    none, _, group = csv_rows(comparison)
    assert list(none) == list(group)
    assert (none["difference"], none["decision"]) == ("", "")
    summary = comparison.variants[2]
    assert summary.interval is not None
    assert summary.difference is not None
    assert (float(group["low"]), float(group["high"])) == tuple(summary.interval)
    assert float(group["p_adjusted"]) == summary.difference.p_adjusted
    assert not [value for row in (none, group) for value in row.values() if "[" in value]


def test_the_verdict_comes_first_and_everything_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = answered(rows())
    show_comparison(found)
    printed = capsys.readouterr().out
    assert printed.startswith("group is better than none: +")
    assert " ".join(found["verdict"]["reasons"][0].split()[:6]) in printed
    assert "What decides is p after Holm: a paired t-test with Holm's correction" in " ".join(
        printed.split()
    )


def test_what_went_wrong_and_what_differs_is_said() -> None:
    found = rows()
    alter(found, [found[15]], reason="diverged")
    change(found[15], "metrics", test_accuracy=0.4)
    change(found[22], "environment", torch="2.15.0")
    text = "\n".join(legend(answered(found)))
    assert (
        "batch to none without the seeds at which a job failed, diverged or is missing (5): "
        in text
    )
    assert (
        "group and none differ in the versions of libraries: torch 2.15.0 and torch 2.14.1; "
        "nothing declared explains it." in text
    )
    assert "the number of parameters of norms, by norm.kind and norm.groups" in text
    assert "Note: batch: 1 job diverged" in text
    assert answer(answered(found))[0] == "The verdict is withheld."


def test_without_tests_the_legend_speaks_of_none() -> None:
    few = make_study(("none", "group"), seeds=3)
    assert "t-test" not in " ".join(legend(answered(fake_rows(few, lambda *_: 0.9, seed=1), few)))


def test_a_matrix_is_shown_along_its_axes(capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(("group", "batch"), matrix={"training.batch_size": [32, 8, 2]})
    found = fake_rows(
        study,
        lambda variant, point: (
            0.9 - 0.1 * (variant == "batch") * (point["training.batch_size"] == 2)
        ),
        seed=1,
    )
    show_comparison(answered(found, study))
    printed = capsys.readouterr().out
    assert "test accuracy, % over training.batch_size (means over seeds):" in printed
    line = next(line for line in printed.splitlines() if line.startswith("batch: +"))
    assert "per doubling" in line
    assert "to group's slope +" in line
    assert "p = < 0.001 after Holm" in line


@pytest.mark.parametrize("width", [20, 60, 80, 100, 200])
def test_a_table_is_whole_in_a_terminal_of_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("normlab.cli.render.output.console", lambda: Console(width=width))
    found = answered(rows())
    shown = columns(found)
    show_table(found["variants"], shown)
    out = capsys.readouterr().out
    assert "…" not in out
    for column in shown:
        assert column.title in out
        assert all(column.text(one) in out for one in found["variants"])
    assert max(map(len, out.splitlines())) <= max(width, 40)
