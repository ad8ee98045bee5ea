"""`normlab diagnostics`, against a service that says what it is told."""

import csv
import io
from pathlib import Path
from typing import Any

from tests.normlab.client.test_reports import run, script, url
from tests.normlab.client.test_results import asked, text
from tests.normlab.client.test_transport import Script

__all__ = ["script", "url"]


def look(layer: str, **statistics: float | None) -> dict[str, Any]:
    return {"epoch": 1, "step": 4, "layer": layer, "statistics": statistics}


LOOKS = [
    look("norm1", after_p50=0.123456, dead=None, variance_ratio=2.0),
    look("conv1", weight_norm=1.5),
]


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


def test_looks_are_a_table_and_whole_as_csv(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, page(*LOOKS))
    code, out, error = text(run(url, tmp_path, "diagnostics", "j7"))
    assert (code, error) == (0, "")
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["1", "4", "norm1", "0.1235"],
        ["1", "4", "conv1", "1.5"],
    ]
    script.say(200, page(*LOOKS))
    code, out, _ = text(run(url, tmp_path, "diagnostics", "j7", "-o", "csv"))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == [
        "epoch", "step", "layer", "after_p50", "dead", "variance_ratio", "weight_norm",
    ]  # fmt: skip
    assert (rows[0]["after_p50"], rows[0]["dead"], rows[1]["weight_norm"]) == (
        "0.123456",
        "",
        "1.5",
    )


def test_a_layer_in_which_nothing_was_seen_is_told_with_those_that_were(
    url: str, script: Script, tmp_path: Path
) -> None:
    script.say(200, page())
    script.say(200, page(*LOOKS, *LOOKS))
    code, out, error = text(run(url, tmp_path, "diagnostics", "j7", "--layer", "nrom1"))
    assert (code, out) == (1, "")
    assert error == "normlab: no diagnostics of layer 'nrom1'; available: norm1, conv1\n"
    assert [asked(script, n)[1].get("layer") for n in (0, 1)] == ["nrom1", None]


def test_a_job_without_looks_says_why(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, page())
    code, _, error = text(run(url, tmp_path, "diagnostics", "j7"))
    assert code == 0
    assert "off in the job's spec" in error
