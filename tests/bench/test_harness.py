import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench.harness import process_tree
from bench.harness.figures import Figure, Section, at_least, at_most, table_rows, text_table
from bench.harness.turns import (
    MOST_FAILURES,
    Failure,
    describe_failures,
    interleave,
    median_ratio,
    pairs_of_successes,
    take_turns,
)
from bench.report import BEGIN, END, render, replace_between_markers
from bench.sections import QUICK, SECTIONS, Effort
from bench.service import mirror
from bench.sweep.contestants import Cost
from bench.sweep.section import BARE, CELERY, NORMLAB, summarize
from bench.sweep.study import FULL

#: Starts a process that computes for 0.3 CPU seconds, holds 50 MB, and ends long after its own parent.
GRANDCHILD = """
import time
block = b"x" * 50_000_000
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
open({!r}, "w").close()
time.sleep(1.0)
"""


def sample_section() -> Section:
    figures = [
        Figure("fast", 0.123456, "s", at_most(0.3)),
        Figure("many", 12345.6, "/s", at_least(20_000)),
        Figure("not to be had", None, note="no GPU"),
        Figure("by the way", 2.0),
    ]
    return Section("A section", figures, {"turns": [1, 2]})


def test_a_figure_stands_beside_its_goal() -> None:
    rows = table_rows(sample_section().describe()["figures"])
    assert rows == [
        ("fast", "0.123 s", "≤ 0.3", "reached"),
        ("many", "12,346 /s", "≥ 20,000", "missed"),
        ("not to be had", "–", "", "not measured; no GPU"),
        ("by the way", "2", "", ""),
    ]
    lines = text_table(rows).splitlines()
    assert lines[1] == "  fast             0.123 s     ≤ 0.3  reached"


def test_every_round_begins_with_another_contestant() -> None:
    order = [
        "".join(name for number, name in interleave("abc", 4) if number == n) for n in range(4)
    ]
    assert order == ["abc", "bca", "cab", "abc"]
    calls: list[str] = []
    results = take_turns(
        {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}, 2
    )  # type: ignore[misc]
    assert calls == ["a", "b", "b", "a"]
    assert results == {"a": [1, 4], "b": [2, 3]}


def test_a_ratio_is_taken_within_its_round() -> None:
    # The machine was ten times slower in the second round.
    assert median_ratio([2, 20, 2], [1, 10, 1]) == 2


def test_a_contestant_that_fails_costs_only_its_own_results() -> None:
    """In a process of its own: what a failed contestant has left running is killed."""
    script = """
import subprocess, sys
from bench.harness.turns import take_turns, tolerate
calls = []
def hang():
    calls.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
    if (code := calls[-1].wait()) != 0:
        raise RuntimeError(f"it ended with {code}")
print(take_turns({"good": tolerate(lambda: 1, 60), "bad": tolerate(hang, 0.1)}, 3), len(calls))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    failure = Failure("RuntimeError: it ended with -9")
    expected = {"good": [1] * 3, "bad": [failure] * 3}
    assert done.stdout.strip() == f"{expected} {MOST_FAILURES}"
    assert pairs_of_successes([1, failure, 3], [4, 5, 6]) == [(1, 4), (3, 6)]
    assert describe_failures([1, failure]) == f"failed in 1 of 2 rounds: {failure.reason}"


def test_time_and_memory_of_a_daemon_count_and_its_death_loses_nothing(tmp_path: Path) -> None:
    """In a process of its own: to adopt orphans can't be undone."""
    ready = tmp_path / "ready"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {GRANDCHILD.format(str(ready))!r}], start_new_session=True)"
    script = f"""
import json, os, subprocess, sys, time
from bench.harness import process_tree
process_tree.adopt_orphans()
with process_tree.MemoryWatch().watching() as memory:
    subprocess.run([sys.executable, "-c", {start!r}], check=True)
    while not os.path.exists({str(ready)!r}):
        time.sleep(0.02)
    alive = process_tree.cpu_seconds()
    while process_tree.pss_bytes():
        time.sleep(0.1)
print(json.dumps([alive, process_tree.cpu_seconds(), memory.peak_bytes, memory.samples]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    alive, dead, peak, samples = json.loads(done.stdout)
    assert 0.3 <= alive <= dead < alive + 0.2
    assert samples > 0
    assert peak >= 50_000_000


def test_own_time_does_not_count() -> None:
    before, end = process_tree.cpu_seconds(), time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert process_tree.cpu_seconds() - before < 0.05


def costs() -> dict[str, list[Cost]]:
    curve = {"batch-0": [1.0, 0.5]}
    return {
        BARE: [Cost(10, 20, 10**9, curves=curve), Cost(40, 20, 10**9, curves=curve)],
        CELERY: [Cost(9, 20, 10**9), Cost(36, 20, 10**9)],
        NORMLAB: [Cost(8, 70, 2 * 10**9, 3, curve), Cost(32, 72, 2 * 10**9, 5, {"batch-0": [1.0, 0.51]})],
    }  # fmt: skip


def test_the_sweep_is_judged_by_ratios_within_a_round() -> None:
    figures = {figure.name: figure for figure in summarize(costs(), FULL).figures}
    assert figures["Normlab: wall ÷ bare"].value == pytest.approx(0.8)
    assert figures["Normlab: wall ÷ bare"].verdict == "reached"
    assert figures["Normlab: wall ÷ warm Celery"].value == pytest.approx(8 / 9)
    assert figures["Normlab: CPU"].value == 71
    assert figures["Normlab: peak PSS"].verdict == "missed"
    assert figures["Normlab: last job's end to all in MLflow"].value == 4
    difference = figures["largest relative difference of a validation loss, Normlab to bare"]
    assert difference.value == pytest.approx(0.01 / 0.51)


def test_the_sweep_says_who_failed_and_keeps_what_others_reached() -> None:
    failure = Failure("OSError: no room")
    mixed = {**costs(), CELERY: [failure] * 2, BARE: [failure, costs()[BARE][1]]}
    figures = {figure.name: figure for figure in summarize(mixed, FULL).figures}
    assert figures[f"{CELERY}: wall"].value is None
    assert figures[f"{CELERY}: wall"].note == "failed in 2 of 2 rounds: OSError: no room"
    assert figures["Normlab: wall ÷ warm Celery"].verdict == "not measured"
    # The round in which both were measured.
    assert figures["Normlab: wall ÷ bare"].value == pytest.approx(0.8)
    assert figures[f"{BARE}: wall"].note == "failed in 1 of 2 rounds: OSError: no room"


def test_a_mirror_that_is_too_late_is_said_beside_its_goal() -> None:
    too_late = Failure("RuntimeError: MLflow had 1 of 8 results 120 s after the last job")
    figures = mirror.summarize([mirror.Mirrored(8, 2.0, 4.0), too_late], 8).figures
    assert [figure.value for figure in figures] == [240, 80, 4]
    assert "MLflow had 1 of 8 results" in figures[-1].note
    (figure,) = mirror.summarize([too_late], 8).figures
    assert figure.verdict == "not measured"
    assert figure.goal is not None


def test_another_number_of_epochs_is_said() -> None:
    other = costs() | {BARE: [Cost(10, 20, 10**9, curves={"batch-0": [1.0]})] * 2}
    assert (
        summarize(other, FULL).figures[-1].note == "the two did not train the same number of epochs"
    )


def test_a_result_holds_what_it_was_measured_on_and_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = {**sample_section().describe(), "seconds": 1.0, "load": [[0.5, 0, 0], [1.5, 0, 0]]}
    failed = {**section, "figures": [], "failure": "Traceback …\nRuntimeError: it broke\n"}
    answers = iter([section, failed])
    monkeypatch.setattr(command, "run_section", lambda name, effort: next(answers))
    output = tmp_path / "result.json"
    command.main(["--only", "imports", "sweep", "--rounds", "2", "--output", str(output)])
    assert "fast" in capsys.readouterr().out
    document: dict[str, Any] = json.loads(output.read_text())
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["peers"]["ray"]
    assert document["sections"]["imports"]["figures"][0]["goal"] == {
        "bound": "at most",
        "value": 0.3,
    }

    text = render(document)
    assert "1 of 2 goals are reached" in text
    assert "| many | 12,346 /s | ≥ 20,000 | **missed** |" in text
    assert "It failed: `RuntimeError: it broke`" in text
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_between_markers(page, text).startswith(f"before\n{BEGIN}\n\n")
    assert "old" not in replace_between_markers(page, text)


def test_a_failed_section_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __enter__(self) -> str:
            raise OSError("no room")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(command.tempfile, "TemporaryDirectory", lambda **_: Broken())
    section = command.run_section("imports", Effort(1))
    assert section["figures"] == []
    assert section["failure"].endswith("OSError: no room\n")


def test_a_section_is_run_in_another_interpreter() -> None:
    # `python -m bench` is `__main__`, and what is defined there can't be found by another process.
    assert command.measure.__module__ == "bench.sections"


def test_every_section_says_what_it_measures() -> None:
    assert set(QUICK) <= set(SECTIONS)
    assert all(command.describe(name) for name in SECTIONS)


def test_the_peers_import_nothing_of_normlab() -> None:
    ours = {
        "api",
        "bench",
        "migrations",
        "normlab",
        "runtime",
        "store",
        "studies",
        "trainer",
        "worker",
    }
    scripts = sorted(Path(command.__file__).parent.glob("peers/*.py"))
    assert len(scripts) >= 5
    for script in scripts:
        for node in ast.walk(ast.parse(script.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not ours & {name.partition(".")[0] for name in names}, script
