"""Reports and tables over REST: three formats, drawn in a process of their own, kept until the study changes."""

import base64
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.processes.render_queue import (
    AT_ONCE,
    MOST_FINISHED,
    WAITING,
    RendererBusy,
    RenderQueue,
)
from api.routes.reports import choose_format
from runtime.helper_process import CommandRunner
from runtime.storage import FolderStorage
from store.db.models import Mirrored
from store.studies import studies, verdicts
from studies.rendering import CachedRender, Renderer, RenderingFailed, cached_page
from studies.rendering.renderer import COMMAND
from studies.report import ReportInput, available_figures, read_report
from tests.support.documents import STUDY, study
from tests.support.trained_study import train_all
from worker.mirror.exports import study_files
from worker.sweep.verdicts import judge_ended

PNG = b"\x89PNG\r\n"


@pytest.fixture
def trained(member: TestClient, sessions: sessionmaker[Session], storage: Path) -> str:
    """The address of a study whose jobs are trained."""
    document = study(description="<script>alert(1)</script>")
    made = member.post("/api/v1/studies", json=document).json()["id"]
    train_all(sessions, storage)
    return f"/api/v1/studies/{made}"


class Counting(Renderer):
    """Counts the processes that would have been started, and draws nothing."""

    def __init__(self) -> None:
        super().__init__(seconds=5, megabytes=500)
        self.drawn: list[tuple[str, ...]] = []

    def render(self, content: bytes, *arguments: str) -> bytes:
        self.drawn.append(arguments)
        drawing = f"drawing {len(self.drawn)}".encode()
        if arguments != ("report",):
            return drawing
        names = [figure.name for figure in available_figures(_parse(content))]
        figures = {name: base64.b64encode(drawing).decode() for name in names}
        return json.dumps({"page": drawing.decode(), "figures": figures}).encode()


def _parse(content: bytes) -> ReportInput:
    return ReportInput.model_validate_json(content)


#: All figures of the trained study.
FIGURES = ("differences", "learning_curves")


def test_the_format_is_the_one_asked_for(
    trained: str, viewer: TestClient, replace: Callable[..., None]
) -> None:
    replace(render_queue=RenderQueue(Counting()))
    asked_for: list[tuple[dict[str, Any], str]] = [
        ({"params": {"format": "html"}}, "text/html; charset=utf-8"),
        ({"params": {"format": "markdown"}}, "text/markdown; charset=utf-8"),
        ({"params": {"format": "json"}}, "application/json"),
        (
            {"headers": {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}},
            "text/html; charset=utf-8",
        ),
        ({"headers": {"Accept": "text/markdown"}}, "text/markdown; charset=utf-8"),
        ({}, "application/json"),
        ({"params": {"format": "json"}, "headers": {"Accept": "text/html"}}, "application/json"),
    ]
    for asked, kind in asked_for:
        answer = viewer.get(f"{trained}/report", **asked)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == kind, asked
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert re.search(
            r'inline; filename="report-s\d+\.(html|md|json)"', answer.headers["content-disposition"]
        )


def test_accept_is_read_by_quality() -> None:
    assert choose_format("") == choose_format("*/*") == choose_format("image/png") == "json"
    assert choose_format("text/html;q=0.5, text/markdown") == "markdown"
    assert choose_format("text/html;q=0, */*") == "json"
    assert choose_format("text/html;q=high") == "json"


def test_a_page_has_figures_verdict_and_links(trained: str, viewer: TestClient) -> None:
    page = viewer.get(f"{trained}/report", params={"format": "html"})
    assert page.status_code == 200, page.text
    verdict = viewer.get(f"{trained}/comparison").json()["verdict"]["sentence"]
    text = page.text
    assert verdict.replace("'", "&#39;") in text
    assert text.count('src="data:image/png;base64,') == 2
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "put `diagnostics: {kind: epoch}`" in text
    figure = viewer.get(f"{trained}/figures/learning_curves.png")
    assert figure.headers["content-type"] == "image/png"
    assert figure.content.startswith(PNG)


def test_a_figure_can_be_had_for_a_paper(trained: str, viewer: TestClient) -> None:
    for format, kind, begin in (
        ("svg", "image/svg+xml", b"<?xml"),
        ("pdf", "application/pdf", b"%PDF-"),
    ):
        figure = viewer.get(f"{trained}/figures/differences.{format}")
        assert figure.headers["content-type"] == kind
        assert figure.content.startswith(begin)
        # What could run in a browser can't; a PDF, which is then not shown, is a file to save.
        assert "sandbox" in figure.headers["content-security-policy"]
        assert (figure.headers.get("content-disposition") == "attachment") is (format == "pdf")
    assert viewer.get(f"{trained}/figures/differences.jpg").status_code == 422


def test_json_has_the_data_and_says_which_figures_there_are(
    trained: str, viewer: TestClient
) -> None:
    report = viewer.get(f"{trained}/report").json()
    assert report["comparison"] == viewer.get(f"{trained}/comparison").json()
    assert [len(one["curve"]["epoch"]) for one in report["jobs"]] == [2] * 4
    diverged = next(one for one in report["jobs"] if one["reason"] == "diverged")
    assert diverged["curve"]["val_loss"] == [None, None]
    assert [one["name"] for one in diverged["files"]] == ["predictions.npy"]
    reasons = {one["name"]: one["missing_reason"] for one in report["figures"]}
    assert reasons["differences"] is None
    assert "evaluations" in reasons["filters"]
    # The earlier name is still there.
    assert reasons == {one["name"]: one["lacks"] for one in report["figures"]}
    assert report["provenance"]["data"].keys() == {"digits"}
    assert len(report["provenance"]["spec"]) == 32


def test_a_figure_that_is_not_there_says_why(trained: str, viewer: TestClient) -> None:
    lacking = viewer.get(f"{trained}/figures/weights.png")
    assert lacking.status_code == 404
    assert "evaluations: [{outputs: [weights]}]" in lacking.json()["detail"]
    unknown = viewer.get(f"{trained}/figures/..%2Fx.png")
    assert unknown.status_code == 404
    assert "learning_curves" in viewer.get(f"{trained}/figures/x.png").json()["detail"]
    for part in ("report", "figures/differences.png"):
        assert viewer.get(f"/api/v1/studies/999/{part}").status_code == 404


def test_what_is_drawn_is_kept_until_the_study_changes(
    trained: str,
    member: TestClient,
    replace: Callable[..., None],
    storage: Path,
) -> None:
    counting = Counting()
    replace(render_queue=RenderQueue(counting))

    def page() -> str:
        return member.get(f"{trained}/report", params={"format": "html"}).text

    assert member.get(f"{trained}/figures/differences.png").text == "drawing 1"
    assert page() == page() == "drawing 2"
    assert counting.drawn == [("figure", "differences", "png"), ("report",)]
    # Those of the page, too.
    assert member.get(f"{trained}/figures/learning_curves.png").text == "drawing 2"
    folder = storage / "studies" / trained.rsplit("/", 1)[1]
    assert len(list(folder.iterdir())) == len(FIGURES) + 1
    assert member.post(f"{trained}/extend", json={"seeds": 1}).status_code == 202
    assert page() == "drawing 3"
    assert len(counting.drawn) == 3
    assert len(list(folder.iterdir())) == len(FIGURES) + 1


def test_a_storage_that_takes_nothing_is_no_reason_to_show_nothing(
    trained: str, member: TestClient, replace: Callable[..., None], storage: Path
) -> None:
    replace(render_queue=RenderQueue(Counting()))
    (storage / "studies").mkdir(exist_ok=True)
    folder = storage / "studies" / trained.rsplit("/", 1)[1]
    folder.write_text("not a folder")
    try:
        answer = member.get(f"{trained}/report", params={"format": "html"})
    finally:
        folder.unlink()
    assert answer.text == "drawing 1"


def test_another_drawing_does_not_come_for_this_one(tmp_path: Path) -> None:
    one = CachedRender.of("s1", "report", ".html", "a")
    one.keep(FolderStorage(tmp_path), b"1")
    assert one.read(FolderStorage(tmp_path)) == b"1"
    assert CachedRender.of("s1", "report", ".html", "b").read(FolderStorage(tmp_path)) is None
    assert CachedRender.of("s2", "report", ".html", "a").read(FolderStorage(tmp_path)) is None
    assert CachedRender.of("j1", "report", ".html", "a").read(FolderStorage(tmp_path)) is None
    assert (
        CachedRender.of("s1", "figure-report", ".html", "a").read(FolderStorage(tmp_path)) is None
    )


def test_a_drawing_is_found_by_its_name_and_by_nothing_else() -> None:
    one = CachedRender.of("s12", "figure-over_norm_kind", ".png", "a")
    assert CachedRender.parse(one.name) == one
    for name in ("", "s1.report.html", f"s1.../x.{32 * 'a'}.html", f"s0.report.{32 * 'a'}.html"):
        assert CachedRender.parse(name) is None


def test_a_large_report_reaches_a_slow_process_whole_and_back() -> None:
    program = "import sys, time; time.sleep(0.5); sys.stdout.buffer.write(sys.stdin.buffer.read())"
    renderer = Renderer(seconds=20, megabytes=500, command=(sys.executable, "-c", program))
    report = bytes(range(256)) * 2**14
    assert renderer.render(report, "html") == report


@pytest.mark.parametrize(
    ("program", "limits", "why"),
    [
        ("import time; time.sleep(60)", {}, "took longer than 1 seconds"),
        (
            "x = bytearray(400 * 2**20); import time; time.sleep(60)",
            {"seconds": 30},
            "more than 256 MB",
        ),
        ("import sys; sys.exit(3)", {}, "ended with 3"),
    ],
)
def test_a_drawing_that_takes_too_much_is_ended(
    program: str, limits: dict[str, Any], why: str
) -> None:
    renderer = Renderer(
        **{"seconds": 1, "megabytes": 256, **limits}, command=(sys.executable, "-c", program)
    )
    with pytest.raises(RenderingFailed, match=why):
        renderer.render(b"never read", "html")
    assert renderer.is_idle


def test_a_drawing_that_fails_is_a_problem_in_words(
    trained: str, viewer: TestClient, replace: Callable[..., None]
) -> None:
    renderer = Renderer(seconds=5, megabytes=500, command=(sys.executable, "-c", "1/0"))
    replace(render_queue=RenderQueue(renderer))
    answer = viewer.get(f"{trained}/report", params={"format": "html"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "the report is available as json" in answer.json()["detail"]


class Slow(Counting):
    """Draws when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_draw = threading.Event()

    def render(self, content: bytes, *arguments: str) -> bytes:
        assert self.may_draw.wait(60)
        return super().render(content, *arguments)


@pytest.fixture
def slow(app: FastAPI, replace: Callable[..., None]) -> Iterator[Slow]:
    """In the service, where no request waits longer than a moment."""
    renderer = Slow()
    queue = RenderQueue(renderer)
    settings = app.state.services.settings.model_copy(update={"draw_wait_seconds": 0.05})
    replace(render_queue=queue, settings=settings)
    yield renderer
    renderer.may_draw.set()
    queue.close()


def test_a_report_is_there_in_words_while_its_pictures_are_drawn(
    trained: str, viewer: TestClient, slow: Slow
) -> None:
    first = viewer.get(f"{trained}/report", params={"format": "html"})
    assert first.status_code == 202
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert int(first.headers["Retry-After"]) > 0
    verdict = viewer.get(f"{trained}/comparison").json()["verdict"]["sentence"]
    assert verdict.replace("'", "&#x27;") in first.text
    assert "<script>" not in first.text
    assert "The figures are still being drawn" in first.text
    assert viewer.get(f"{trained}/report", params={"format": "markdown"}).status_code == 200
    there = first.headers["Location"]
    still = viewer.get(there)
    assert (still.status_code, still.headers["Location"]) == (202, there)

    slow.may_draw.set()
    while (answer := viewer.get(there)).status_code == 202:
        pass
    assert (answer.status_code, answer.text) == (200, "drawing 1")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert viewer.get(f"{trained}/report", params={"format": "html"}).text == "drawing 1"
    assert slow.drawn == [("report",)]


def test_a_figure_that_many_ask_for_is_drawn_once(
    trained: str, viewer: TestClient, slow: Slow
) -> None:
    path = f"{trained}/figures/differences.png"
    answers = [viewer.get(path) for _ in range(3)]
    assert [one.status_code for one in answers] == [202] * 3
    assert len({one.headers["Location"] for one in answers}) == 1
    slow.may_draw.set()
    while (answer := viewer.get(path)).status_code == 202:
        pass
    assert answer.headers["content-type"] == "image/png"
    assert slow.drawn == [("figure", "differences", "png")]


def test_a_drawing_that_fails_says_so_once_and_is_tried_again(
    trained: str, viewer: TestClient, replace: Callable[..., None]
) -> None:
    queue = RenderQueue(Renderer(seconds=20, megabytes=500, command=(sys.executable, "-c", "1/0")))
    replace(render_queue=queue)
    path = f"{trained}/figures/differences.png"
    assert [viewer.get(path).status_code for _ in range(2)] == [500, 500]
    assert queue._pending == {}
    queue.close()


def test_a_drawing_that_nobody_makes_is_not_found(viewer: TestClient) -> None:
    for name in (CachedRender.of("s1", "report", ".html", "x").name, "report.html"):
        answer = viewer.get(f"/api/v1/drawings/{name}")
        assert answer.status_code == 404
        assert "the report or the figure itself" in answer.json()["detail"]


def test_a_place_in_the_line_is_not_for_everybody(
    trained: str, viewer: TestClient, app: FastAPI, slow: Slow
) -> None:
    queue: RenderQueue = app.state.services.render_queue
    for number in range(AT_ONCE + WAITING):
        queue.start(f"other {number}", lambda: slow.render(b"", "html"))
    answer = viewer.get(f"{trained}/report", params={"format": "html"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    with pytest.raises(RendererBusy, match="already being rendered"):
        queue.start("one more", bytes)
    slow.may_draw.set()
    for number in range(AT_ONCE + WAITING):
        pending = queue.find(f"other {number}")
        assert pending is None or pending.wait(60)
    assert viewer.get(f"{trained}/report", params={"format": "html"}).status_code in (200, 202)


def test_drawings_that_nobody_fetches_are_forgotten() -> None:
    queue = RenderQueue(Counting())
    for number in range(3 * MOST_FINISHED):
        queue.start(str(number), lambda: queue.renderer.render(b"", "html")).wait(60)
    assert len(queue._pending) == MOST_FINISHED
    queue.close()


def test_a_service_that_stops_leaves_no_drawing_behind() -> None:
    renderer = Renderer(
        seconds=60, megabytes=500, command=(sys.executable, "-c", "import time; time.sleep(60)")
    )
    queue = RenderQueue(renderer)
    pending = [queue.start(str(number), lambda: renderer.render(b"")) for number in range(4)]
    queue.close()
    for one in pending:
        with pytest.raises(RenderingFailed, match="stopped"):
            one.wait(60)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The arguments of every process that draws, in the order of their starts."""
    started: list[tuple[str, ...]] = []
    run = CommandRunner.run

    def counted(runner: CommandRunner, command: Sequence[str], content: bytes) -> bytes:
        started.append(tuple(command[len(COMMAND) :]))
        return run(runner, command, content)

    monkeypatch.setattr(CommandRunner, "run", counted)
    return started


def test_what_the_sweep_has_drawn_is_copied_by_the_api_and_the_mirror(
    member: TestClient,
    sessions: sessionmaker[Session],
    storage: Path,
    starts: list[tuple[str, ...]],
) -> None:
    claim = {"name": "better", "says": "Group norm helps", "statistic": "test_accuracy",
             "rising": ["none", "group"]}  # fmt: skip
    document = study(claims=[claim], figure=[{"panel": "curves", "column": "val_loss"}])
    made = member.post("/api/v1/studies", json=document).json()["id"]
    train_all(sessions, storage)
    assert judge_ended(sessions, FolderStorage(storage)) == [made]
    assert starts == [("report",)]
    starts.clear()

    with sessions.begin() as session:
        # As the mirror leaves it: from now on the report has links.
        session.add(Mirrored(study_id=made, run_id="a1", experiment_id="7"))
    path = f"/api/v1/studies/{made}"
    page = member.get(f"{path}/report", params={"format": "html"})
    assert page.status_code == 200
    assert "/#/experiments/7/runs/a1" in page.text
    assert page.text.count('src="data:image/png;base64,') == 3
    names = ("figure", *FIGURES)
    drawn = {name: member.get(f"{path}/figures/{name}.png").content for name in names}
    assert all(content.startswith(PNG) for content in drawn.values())
    with sessions.begin() as session:
        row = studies.find(session, made)
        assert row is not None
        report = read_report(session, row, storage, "https://mlflow.example")
    mirrored = dict(study_files(report, FolderStorage(storage), Renderer()))
    assert {name: mirrored[f"{name}.png"] for name in names} == drawn
    assert "https://mlflow.example/#/experiments/7/runs/a1" in mirrored["report.html"].decode()
    kept = storage / "studies" / str(made) / "ended" / "figure.png"
    assert kept.read_bytes() == drawn["figure"]
    assert starts == []
    # The page as it is kept has places for links, and nobody sees them.
    cached = cached_page(report)
    assert b"links.invalid" in (cached.read(FolderStorage(storage)) or b"")
    assert "links.invalid" not in page.text + mirrored["report.html"].decode()
    assert "links.invalid" not in (kept.parent / "report.html").read_text()
    assert member.get(f"/api/v1/drawings/{cached.name}").text == page.text


def test_a_figure_that_cannot_be_drawn_keeps_no_other_from_the_verdicts(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    claim = {"name": "better", "says": "Group norm helps", "statistic": "test_accuracy",
             "rising": ["none", "group"]}  # fmt: skip
    made = member.post("/api/v1/studies", json=study(claims=[claim])).json()["id"]
    train_all(sessions, storage)
    failing = Renderer(command=(sys.executable, "-c", "1/0"))
    assert judge_ended(sessions, FolderStorage(storage), failing) == [made]
    with sessions.begin() as session:
        assert [row.claim for row in verdicts.of_studies(session, [made])[made]] == ["better"]
        assert verdicts.files_of(session, made) == []


@pytest.mark.parametrize(
    ("format", "kind", "begin"),
    [
        ("csv", "text/csv; charset=utf-8", "variant,n,mean,std"),
        ("markdown", "text/markdown; charset=utf-8", "| variant | n | test accuracy, % |"),
        ("latex", "application/x-latex", r"% needs \usepackage{booktabs}"),
    ],
)
def test_a_comparison_is_a_table_for_other_programs(
    trained: str, viewer: TestClient, format: str, kind: str, begin: str
) -> None:
    answer = viewer.get(f"{trained}/comparison", params={"format": format})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.text.startswith(begin)
    assert "group" in answer.text
    assert viewer.get(f"{trained}/comparison", params={"format": "pdf"}).status_code == 422


def test_a_study_that_waits_has_a_report(member: TestClient, app: FastAPI) -> None:
    made = member.post("/api/v1/studies", json=STUDY).json()["id"]
    path = f"/api/v1/studies/{made}/report"
    assert json.loads(member.get(path).text)["status"] == "queued"
    assert "# norms" in member.get(path, params={"format": "markdown"}).text
