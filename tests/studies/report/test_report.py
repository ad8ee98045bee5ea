"""A report says everything in its order, in every format, and takes nobody's words for markup."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from studies.figures.__main__ import render
from studies.report.formats import to_html, to_json, to_markdown_report
from studies.report.page import make_page, spec_text
from studies.report.schemas import ReportInput
from studies.spec.study import read_study
from tests.support.reports import make_report
from tests.support.waiting import PATIENCE_SECONDS

HOSTILE = '<script>alert(1)</script>"&{{ 7*7 }}\n# not a title\n```\n[x](javascript:alert(1))'
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def report() -> ReportInput:
    return make_report(matrix={"training.batch_size": [64, 8]}, description=HOSTILE)


@pytest.fixture(scope="module")
def html(report: ReportInput) -> str:
    return render(report, "html").decode()


class Reader(HTMLParser):
    """Tags in order with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(html: str) -> None:
    assert html.lstrip().startswith("<!doctype html>")
    page = Reader(html)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "form"}
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 8
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert "@import" not in html
    assert "url(" not in html
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    policy = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_the_parts_come_in_the_order_in_which_one_asks(report: ReportInput, html: str) -> None:
    text, markdown = Reader(html).text, to_markdown_report(report)
    parts = [
        report.comparison.verdict.sentence,
        "Variants",
        "p after Holm",
        "without the seeds at which a job failed",
        "Along",
        "per doubling",
        "What else differs",
        "number of parameters of norms",
        "Figures",
        "Learning curves",
        "variants:",
        "Digests and versions",
        "5" * 32,
        "2.14.1",
        "Jobs",
        "succeeded (completed)",
    ]
    for said in (text, markdown.replace("\\", "")):
        rest = said
        for part in parts:
            assert part in rest, part
            rest = rest.split(part, 1)[1]


def test_what_a_person_wrote_is_text(report: ReportInput, html: str) -> None:
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7*7 }}" in html
    rendered = MarkdownIt("commonmark").enable("table").render(to_markdown_report(report))
    assert "<script>" not in rendered
    assert (
        "javascript:" not in re.sub(r"<[^a>][^>]*>", "", rendered)
        or 'href="javascript' not in rendered
    )
    assert rendered.count("<h1>") == 1
    assert "<pre><code>version: 1" in rendered


def test_markdown_shows_the_figures_that_lie_beside_it(report: ReportInput) -> None:
    text = to_markdown_report(report, {"learning_curves": "learning_curves.png"})
    assert "![Learning curves](<learning_curves.png>)" in text
    assert "Weights at batch_size=64: in the HTML report" in text.replace("\\", "")
    missing = to_markdown_report(make_report(insides=False)).replace("\\", "")
    assert "Weights: not there; put `evaluations: [{outputs: [weights]}]` into" in missing


def test_every_job_has_its_row_and_its_run(report: ReportInput, html: str) -> None:
    links = [attributes["href"] for tag, attributes in Reader(html).tags if tag == "a"]
    assert links == [report.mlflow_url, *(one.mlflow_url for one in report.jobs)]
    for one in report.jobs:
        assert f"<td>j{one.id}</td>" in html
        assert f"[run](<{one.mlflow_url}>)" in to_markdown_report(report)
    without = make_report(change={"mlflow_url": None}, insides=False)
    assert "The study in MLflow" not in to_html(without, {})


def test_open_and_declared_confounds_are_told_apart() -> None:
    confound = {
        "kind": "code", "what": "the code of the trainer", "variant": "group", "seeds": 8,
        "baseline_value": {"code": "a"}, "variant_value": {"code": "b"}, "causes": (),
    }  # fmt: skip
    report = make_report(insides=False)

    def said(**more: Any) -> str:
        changed = {**confound, "declared": None, **more}
        comparison = report.comparison.model_validate(
            {**report.comparison.model_dump(), "confounds": [changed]}
        )
        return to_html(report.model_copy(update={"comparison": comparison}), {})

    difference = "group and none differ in the code of the trainer: code b and code a"
    assert difference in said()
    assert "no ranking is given" in said()
    assert "no ranking is given" not in said(declared="a comment")
    assert f"{difference}. Declared by ann: a comment" in said(declared="a comment")
    assert "Nothing: jobs differ" not in said()


def test_json_is_the_data_without_pictures(report: ReportInput) -> None:
    found = json.loads(to_json(report))
    assert found["comparison"]["verdict"]["sentence"] == report.comparison.verdict.sentence
    assert found["jobs"][0]["curve"]["val_loss"] == list(report.jobs[0].curve.val_loss)
    assert found["jobs"][0]["files"][0]["digest"] == "f" * 32
    assert not {"fans", "filters", "histograms"} & found.keys()
    assert [one["name"] for one in found["figures"]][:2] == [
        "differences",
        "over_training_batch_size",
    ]


def test_the_document_in_the_report_is_the_study(report: ReportInput) -> None:
    stored = dict(sorted(report.spec.items(), key=lambda item: len(item[0])))
    text = spec_text(stored, report.variants)
    assert read_study(yaml.safe_load(text)) == read_study(report.spec)
    assert list(yaml.safe_load(text))[:4] == ["version", "project", "name", "description"]
    assert list(yaml.safe_load(text)["variants"]) == ["none", "batch", "group"]


def test_a_study_that_has_not_begun_has_a_report() -> None:
    report = make_report(insides=False)
    jobs = tuple(
        one.model_copy(
            update={"status": "queued", "reason": None, "value": None, "mlflow_url": None}
        )
        for one in report.jobs
    )
    waiting = report.model_copy(update={"jobs": jobs, "finished_at": None, "status": "queued"})
    page = make_page(waiting)
    assert not any("finished" in fact for fact in page.facts)
    assert "queued" in to_html(waiting, {})


def test_a_process_of_its_own_draws_from_json(report: ReportInput) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "studies.figures", "figure", "weights"],
        input=report.model_dump_json().encode(),
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.lstrip().startswith(PNG)
