"""`normlab curves`: plots in colour or with letters, rows for programs, and pictures from the service."""

import json
from typing import Any

import pytest

from normlab.cli.curves import _has_colors, show_curves
from tests.normlab.client.test_reports import run, script, url
from tests.normlab.client.test_transport import Script

__all__ = ["script", "url"]


def make_series(variant: str, *means: float, place: str = "", **left_out: int) -> dict[str, Any]:
    points = [{"x": x, "mean": mean, "low": None, "high": None} for x, mean in enumerate(means, 1)]
    name = f"{variant} · {place}" if place else variant
    return {
        "name": name, "variant": variant, "place": place, "n": 2, "left_out": left_out, "points": points,
    }  # fmt: skip


def make_curves(*series: dict[str, Any], metric: str = "val_accuracy") -> dict[str, Any]:
    return {"title": "norms (s3)", "metric": metric, "x": "epoch", "series": list(series)}


CURVES = make_curves(make_series("none", 0.1, 0.2, diverged=1), make_series("batch", 0.5, 0.9))


def test_lines_without_colour_are_told_apart_by_letters(capsys: pytest.CaptureFixture[str]) -> None:
    show_curves(CURVES, in_color=False)
    said = capsys.readouterr().out
    assert said.startswith("norms (s3): validation accuracy by epoch\n")
    plot, legend = said.split("-> (epoch)")
    rows = [row.split(" | ")[1] for row in plot.splitlines() if " | " in row]
    marks = ["".join(mark for mark in row if mark in "ab") for row in rows]
    # From the highest value down to the lowest, the first epoch on the left.
    assert [mark for mark in marks if mark] == ["b", "b", "a", "a"]
    assert [row[0] for row in rows if row[:1] in ("a", "b")] == ["b", "a"]
    assert "a  none (n=2, 1 diverged), last 0.2" in legend
    assert "b  batch (n=2), last 0.9" in legend
    assert "\x1b" not in said


def test_lines_in_a_terminal_have_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert _has_colors()
    show_curves(CURVES, in_color=True)
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert not _has_colors()


def test_each_point_of_the_matrix_has_a_plot(capsys: pytest.CaptureFixture[str]) -> None:
    places = [make_series("batch", 0.5, 0.5, place=f"batch_size={size}") for size in (8, 64)]
    show_curves(make_curves(*places), in_color=False)
    said = capsys.readouterr().out
    assert said.count("-> (epoch)") == 2
    assert "batch at batch_size=64" in said


def test_curves_without_a_value_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_curves(make_curves(make_series("none", diverged=2)), in_color=False)
    said = capsys.readouterr().out
    assert "no evaluation period with a finite value yet" in said
    assert "2 diverged" in said


def test_curves_are_rows_for_programs(url: str, script: Script, tmp_path: Any) -> None:
    script.say(200, CURVES)
    done = run(url, tmp_path, "curves", "s3", "--metric", "val_loss", "--x", "step", "-o", "csv")
    assert done.returncode == 0, done.stderr
    assert script.seen[0][1] == "/api/v1/studies/3/curves?x=step&metric=val_loss"
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["name,variant,place,n,x,mean,low,high", "none,none,,2,1,0.1,,"]
    assert len(lines) == 5
    script.say(200, CURVES)
    done = run(url, tmp_path, "curves", "j3", "-o", "json")
    assert script.seen[1][1] == "/api/v1/jobs/3/curves?x=epoch"
    assert json.loads(done.stdout) == CURVES


def test_a_picture_is_waited_for_and_written(url: str, script: Script, tmp_path: Any) -> None:
    there = "/api/v1/drawings/s3.curves.0.pdf"
    script.say(202, {"detail": "still being drawn"}, Location=there, Retry_After="0")
    script.say(200, b"%PDF")
    done = run(url, tmp_path, "curves", "s3", "--out", "x.pdf")
    assert done.stdout.decode() == "The learning curves of s3 are in x.pdf\n"
    assert [path for _, path, _, _ in script.seen] == [
        "/api/v1/studies/3/curves?x=epoch&format=pdf",
        there,
    ]
    assert (tmp_path / "x.pdf").read_bytes() == b"%PDF"


def test_another_kind_of_picture_is_refused(url: str, script: Script, tmp_path: Any) -> None:
    done = run(url, tmp_path, "curves", "s3", "--out", "x.jpg")
    assert done.returncode == 1
    assert "x.jpg must end in .png, .svg or .pdf" in done.stderr.decode()
    assert script.seen == []
