"""The command: its help, its errors, its tables, and progress that reads well when piped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from normlab.cli.datasets import read_source
from normlab.cli.render.eta import fraction
from normlab.cli.render.output import Column, Format, duration, emit, field, show_table, size
from normlab.cli.render.progress import line, picture, tell
from normlab.cli.render.units import interval, p_value, scaled
from normlab.errors import NormlabError
from tests.support.cli import run_here


def job(number: int, status: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "study_id": 1,
        "name": f"none | seed {number}",
        "variant": "none",
        "point": {},
        "seed": number,
        "status": status,
        "reason": None,
        "requested_action": None,
        "attempt": 0,
        "step": 0,
        "total_steps": None,
        "metrics": {},
        **more,
    }


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = run_here(*arguments, COLUMNS="120", **environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time\nfrom normlab.cli.app import app\n"
        "heavy = {'pandas', 'numpy', 'torch', 'mlflow', 'sqlalchemy', 'celery', 'yaml', 'scipy'}\n"
        "print(time.process_time(), *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert not heavy
    assert float(seconds) < 3.0


def test_every_verb_explains_itself() -> None:
    listed = run("--help")[1]
    for verb in ("up", "down", "demo", "submit", "compare", "wait", "dataset", "token", "users"):
        assert verb in listed
    assert "takes" not in run("extend", "--help")[2]
    assert run("--version")[1].startswith("normlab ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "x9"), "neither a job (j12) nor a study (s3)"),
        (("submit", "nowhere.yaml"), "nowhere.yaml cannot be read"),
        (("show", "j1"), "start the local stack with: normlab up --detach"),
        (("mirror", "verify"), "no stack is running in"),
        (("compare", "j1"), "takes a study (s3)"),
        (("extend", "s1", "--seeds", "many"), "takes a number or a list"),
        (("dataset", "add", "x", "hugging_face:a/b"), "lacks the commit"),
        (("priority", "x9", "high"), "neither a job (j12) nor a study (s3)"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, error = run(
        *arguments, NORMLAB_HOME=str(tmp_path), NORMLAB_URL="", NORMLAB_API_PORT="9"
    )
    assert code == 1
    assert message in error
    assert "Traceback" not in error
    assert out == ""


def test_a_port_that_is_none_is_said_so(tmp_path: Path) -> None:
    # In a process of its own, like every stack: its signals are not the tests'.
    done = subprocess.run(
        [sys.executable, "-m", "normlab", "up", "-d"],
        check=False, capture_output=True, text=True,
        env={**os.environ, "NORMLAB_HOME": str(tmp_path), "NORMLAB_API_PORT": "http"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    problem = "NORMLAB_API_PORT must be a port from 1 to 65535 but is 'http'"
    assert done.stderr.startswith(f"normlab: {problem}")


def test_status_and_down_without_a_stack(tmp_path: Path) -> None:
    code, _, error = run("status", NORMLAB_HOME=str(tmp_path))
    assert code == 1
    assert "Nothing is running" in error
    assert run("down", NORMLAB_HOME=str(tmp_path / "never"))[0] == 0
    assert not (tmp_path / "never").exists()


def test_small_formats() -> None:
    assert scaled(0.51234, "val_loss", sign=True) == "+0.5123"
    assert scaled(None, "val_loss") == interval(None, "val_loss") == p_value(None) == "–"
    assert p_value(0.0421) == "0.042"
    assert [duration(s) for s in (5, 65, 1000, 7300, 200000)] == [
        "5s", "1m 05s", "16m", "2h 01m", "2d 7h",
    ]  # fmt: skip
    assert size(1_500_000_000) == "1.5 GB"


def test_lists_print_as_table_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"id": 1, "name": "a [bold]b, c", "hidden": None}]
    shown = (
        Column("id", lambda one: f"j{one['id']}", lambda one: one["id"]),
        Column("name", field("name")),
    )
    emit(items, shown, Format.TABLE, "none")
    assert capsys.readouterr().out.split() == ["id", "name", "j1", "a", "[bold]b,", "c"]
    emit(items, shown, Format.JSON, "none")
    assert json.loads(capsys.readouterr().out) == items
    emit(items, shown, Format.CSV, "none")
    assert capsys.readouterr().out == 'id,name\n1,"a [bold]b, c"\n'
    emit([], shown, Format.TABLE, "nothing here")
    assert capsys.readouterr() == ("", "nothing here\n")


def test_piped_progress_says_every_half_minute_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 0.0, 1.0, 20.0, 31.0, 40.0, 62.0])
    clock = SimpleNamespace(monotonic=lambda: next(moments))
    monkeypatch.setattr("normlab.cli.render.progress.time", clock)
    running = [job(1, "running", attempt=1, step=30, total_steps=400), job(2)]
    tell(iter([running] * 5))
    still = "1 running, 1 queued; j1 none | seed 1: step 30 of 400"
    assert capsys.readouterr().out.splitlines() == [
        "[0/2] j1 none | seed 1: running",
        f"[0/2] after 31s: {still}",
        f"[0/2] after 1m 02s: {still}",
    ]


def test_piped_progress_has_a_line_per_change_only(capsys: pytest.CaptureFixture[str]) -> None:
    done = {"reason": "early_stopped", "metrics": {"test_accuracy": 0.9722, "epochs": 9.0}}
    tell(
        iter(
            [
                [job(1), job(2)],
                [job(1, "running", attempt=1, step=1), job(2)],
                [job(1, "running", attempt=1, step=50), job(2)],
                [job(1, "succeeded", attempt=1, **done), job(2)],
            ]
        )
    )
    assert capsys.readouterr().out.splitlines() == [
        "[0/2] j1 none | seed 1: running",
        "[1/2] j1 none | seed 1: succeeded (early_stopped), 9 epochs, test accuracy 97.22 %",
    ]


def test_the_picture_has_a_cell_per_job(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        job(0, "succeeded", reason="diverged", metrics={"test_accuracy": 0.1}),
        job(1, "running", attempt=1, step=30, total_steps=60),
        job(2),
        job(3, "failed", reason="oom"),
    ]
    Console(width=120).print(picture(jobs, 61))
    text = capsys.readouterr().out
    assert "∞ 10.00" in text
    assert "50%" in text
    assert "✗" in text
    assert "step 30 of 60" in text
    assert "1m 01s" in text


def test_many_seeds_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=250).print(picture([job(seed) for seed in range(40)], 1))
    text = capsys.readouterr().out
    assert "seed 15" in text
    assert "+24" in text
    assert "seed 16" not in text


def test_an_early_stopped_job_is_whole() -> None:
    assert fraction(job(1, "succeeded", step=10, total_steps=60)) == 1
    assert fraction(job(1, "running")) == 0


def test_a_source_is_read_from_its_short_form_or_a_file(tmp_path: Path) -> None:
    commit = "a" * 40
    assert read_source(f"hugging_face:a/b@{commit}", {"image": "img", "label": None}) == {
        "kind": "hugging_face",
        "repository": "a/b",
        "revision": commit,
        "image": "img",
    }
    assert read_source("parquet:/data/x", {}) == {"kind": "parquet", "path": "/data/x"}
    (tmp_path / "source.yaml").write_text("kind: image_folder\npath: /data\n")
    assert read_source(str(tmp_path / "source.yaml"), {})["kind"] == "image_folder"
    with pytest.raises(NormlabError, match="neither a source"):
        read_source("nowhere", {})


def test_columns_that_do_not_fit_stand_below_after_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("normlab.cli.render.output.console", lambda: Console(width=10))
    letters = [Column(title, field(title)) for title in ("id", "aaa", "bbb", "ccc")]
    show_table([{"id": 7, "aaa": 1, "bbb": 2, "ccc": 3}], letters)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["id  aaa", "7   1", "", "id  bbb", "7   2", "", "id  ccc", "7   3"]


@pytest.mark.parametrize(("epochs", "words"), [(1.0, "1 epoch"), (9.0, "9 epochs")])
def test_epochs_are_counted_in_words(epochs: float, words: str) -> None:
    done = job(1, "succeeded", reason="diverged", metrics={"epochs": epochs})
    assert line(done) == f"j1 none | seed 1: succeeded (diverged), {words}"
