"""`normlab report` and the tables of `normlab compare`: whole bytes in a pipe, a file instead of a terminal."""

import io
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from normlab.cli.render.patience import Patience
from normlab.client.client import Client
from tests.normlab.client.test_transport import Script, handler
from tests.support.cli import run_here

PAGE = "<!doctype html>\n<p>ü</p>\r\n".encode()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler(script)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(url: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return run_here(*arguments, folder=folder, NORMLAB_URL=url, NORMLAB_TOKEN="nl_x")


def run_alone(
    url: str, folder: Path, *arguments: str, stdout: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[bytes]":
    """In a process of its own, which writes to a pipe or a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "normlab", *arguments],
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={
            **os.environ,
            "NORMLAB_URL": url,
            "NORMLAB_TOKEN": "nl_x",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
    )


def test_a_report_goes_whole_through_a_pipe(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, PAGE)
    done = run_alone(url, tmp_path, "report", "s2")
    assert (done.returncode, done.stdout) == (0, PAGE)
    assert script.seen[0][1] == "/api/v1/studies/2/report?format=html"


def test_html_in_a_terminal_becomes_a_file(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, PAGE)
    here, terminal = pty.openpty()
    try:
        assert run_alone(url, tmp_path, "report", "s2", stdout=terminal).returncode == 0
        said = os.read(here, 1000).decode()
    finally:
        os.close(terminal)
        os.close(here)
    assert said.strip() == "The report of s2 is in report-s2.html"
    assert (tmp_path / "report-s2.html").read_bytes() == PAGE


def test_markdown_in_a_terminal_is_printed(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, b"# norms\n")
    here, terminal = pty.openpty()
    try:
        done = run_alone(url, tmp_path, "report", "s2", "--format", "markdown", stdout=terminal)
        said = os.read(here, 1000).decode()
    finally:
        os.close(terminal)
        os.close(here)
    assert done.returncode == 0
    assert said.strip() == "# norms"
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_where_it_is_wanted(url: str, script: Script, tmp_path: Path) -> None:
    script.say(200, PAGE)
    assert run(url, tmp_path, "report", "s2", "--out", "x.html").returncode == 0
    assert (tmp_path / "x.html").read_bytes() == PAGE
    script.say(200, PAGE)
    done = run(url, tmp_path, "report", "s2", "--out", "nowhere/x.html")
    assert done.returncode == 1
    assert b"nowhere/x.html cannot be written" in done.stderr


def test_a_report_is_waited_for_while_its_pictures_are_drawn(
    url: str, script: Script, tmp_path: Path
) -> None:
    there = "/api/v1/drawings/s2.report.0.html"
    script.say(202, b"words", Location=there, Retry_After="0")
    script.say(202, {"detail": "still being drawn"}, Location=there, Retry_After="0")
    script.say(404, {"title": "Not Found", "status": 404})
    script.say(202, b"words", Location=there, Retry_After="0")
    script.say(200, PAGE)
    done = run(url, tmp_path, "report", "s2")
    assert (done.returncode, done.stdout) == (0, PAGE)
    assert [path for _, path, _, _ in script.seen] == [
        "/api/v1/studies/2/report?format=html", there, there,
        "/api/v1/studies/2/report?format=html", there,
    ]  # fmt: skip
    assert done.stderr.decode() == "rendering the figures … 0s\n"


def test_a_wait_in_a_terminal_is_one_line_that_is_redrawn() -> None:
    screen = io.StringIO()
    with Patience("drawing", console=Console(file=screen, force_terminal=True, width=80)) as wait:
        assert screen.getvalue() == ""
        wait()
        wait()
    assert "drawing … 0s" in screen.getvalue()


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_a_comparison_is_a_table_for_a_paper(
    url: str, script: Script, tmp_path: Path, format: str
) -> None:
    script.say(200, b"| variant |\n")
    done = run(url, tmp_path, "compare", "s2", "-o", format)
    assert (done.returncode, done.stdout) == (0, b"| variant |\n"), done.stderr
    assert script.seen[0][1] == f"/api/v1/studies/2/comparison?format={format}"


def test_python_gets_bytes_and_waits_for_its_turn(url: str, script: Script) -> None:
    script.say(503, {"title": "busy", "status": 503}, Retry_After="0")
    script.say(200, PAGE)
    script.say(200, b"variant,n\n")
    with Client(url, "nl_x") as client:
        assert client.report("s2") == PAGE
        assert client.comparison_table("s2", "csv", "test_loss") == "variant,n\n"
    assert script.seen[2][1] == "/api/v1/studies/2/comparison?format=csv&metric=test_loss"
