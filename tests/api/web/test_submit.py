"""The page to submit from: what one may start with, what is said of a document, and to whom the button is offered."""

import gzip
import json
import re
from html import unescape
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api import checks
from api.web.starts import TEMPLATES
from runtime.documents import read_document
from studies.presets import presets
from studies.spec import is_study
from tests.support.documents import JOB, STUDY, job, study
from tests.support.factories import acquire_job, finish_training, make_worker
from tests.support.waiting import PATIENCE_SECONDS

#: Of a page with all that it loads, compressed.
MOST_BYTES = 150_000


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def text_of(page: str) -> str:
    """What the page opens with."""
    [text] = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    return unescape(text)


def document_of(client: TestClient, path: str) -> Any:
    return read_document(text_of(read(client, path)))


def check(client: TestClient, text: str) -> str:
    answer = client.post(
        "/submit/check", content=text.encode(), headers={"Content-Type": "application/yaml"}
    )
    assert answer.status_code == 200, answer.text
    return answer.text


def write(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_can_be_submitted_as_it_is(member: TestClient, template: str) -> None:
    text = text_of(read(member, f"/submit?template={template}"))
    outcome = check(member, text)
    kind = "study" if is_study(read_document(text)) else "job"
    assert f'data-summary="A valid {kind}"' in outcome
    assert f">Submit {kind}</button>" in outcome


@pytest.mark.parametrize("preset", presets())
def test_a_preset_opens_as_its_study(member: TestClient, preset: str) -> None:
    assert document_of(member, f"/submit?preset={preset}") == presets()[preset].document("small")


def test_a_preset_opens_at_another_scale(member: TestClient) -> None:
    document = document_of(member, "/submit?preset=norms-compared&scale=toy")
    assert document == presets()["norms-compared"].document("toy")


def test_a_template_opens_with_another_dataset(member: TestClient) -> None:
    for name in ("moons", "a: b # c"):
        page = member.get("/submit", params={"template": "job", "dataset": name})
        assert read_document(text_of(page.text))["dataset"] == {"name": name}


def test_a_study_runs_again_with_its_variants_in_order(member: TestClient) -> None:
    document = study(variants={name: STUDY["variants"]["group"] for name in ("zeta",)})
    document["variants"] = {
        "zeta": {"norm": {"kind": "none"}},
        "alpha": {"norm": {"kind": "batch"}},
        "mu": {"norm": {"kind": "group", "groups": 4}},
    }
    document |= {"baseline": "mu", "seeds": [3, 5]}
    made = member.post("/api/v1/studies", json=document).json()["id"]
    page = read(member, f"/submit?study={made}")
    again = read_document(text_of(page))
    assert list(again["variants"]) == ["zeta", "alpha", "mu"]
    assert {name: again[name] for name in document} == document
    assert f'href="/studies/{made}"' in page
    # The one that is there is said to train the same.
    outcome = check(member, text_of(page))
    assert f'href="/studies/{made}"' in outcome


def test_a_study_keeps_the_text_that_it_was_submitted_as(member: TestClient) -> None:
    text = f"# Why: <the lecture> says so.\n{write(study(seeds=2))}"
    headers = {"Content-Type": "application/yaml"}
    made = member.post("/api/v1/studies", content=text.encode(), headers=headers).json()["id"]
    document = member.get(f"/api/v1/studies/{made}/document")
    assert document.text == text
    assert document.headers["content-disposition"] == f'attachment; filename="s{made}.yaml"'
    assert "# Why: &lt;the lecture&gt; says so." in read(member, f"/studies/{made}")
    assert text_of(read(member, f"/submit?study={made}")) == text

    # What is added later is in what runs again, and not in what was submitted.
    member.post(f"/api/v1/studies/{made}/extend", json={"seeds": 1})
    assert document_of(member, f"/submit?study={made}")["seeds"] == 3
    assert member.get(f"/api/v1/studies/{made}/document").text == text


def test_a_document_that_is_not_as_it_was_written_is_written_anew(member: TestClient) -> None:
    text = f"# as I wrote it\n{write(study(seeds=1))}"
    with_set = member.post("/api/v1/studies", params={"set": "seeds=2"}, content=text.encode())
    as_json = member.post("/api/v1/studies", json=study(seeds=3))
    for answer, seeds in ((with_set, 2), (as_json, 3)):
        written = member.get(f"/api/v1/studies/{answer.json()['id']}/document").text
        assert read_document(written)["seeds"] == seeds
        assert "#" not in written


def test_a_job_runs_again_as_it_was(member: TestClient) -> None:
    made = member.post("/api/v1/jobs", json={**JOB, "seed": 7}).json()
    page = read(member, f"/submit?job={made['id']}")
    again = member.post("/api/v1/jobs", content=text_of(page)).json()
    assert again["spec"] == made["spec"]


def test_who_may_submit_is_led_from_a_study_and_a_job_to_the_page(
    member: TestClient, viewer: TestClient
) -> None:
    made = member.post("/api/v1/studies", json=STUDY).json()["id"]
    [item, *_] = member.get(f"/api/v1/studies/{made}/jobs").json()["items"]
    for path, target in (
        (f"/studies/{made}", f"/submit?study={made}"),
        (f"/jobs/{item['id']}", f"/submit?job={item['id']}"),
    ):
        assert f'href="{target}"' in read(member, path)
        assert f'href="{target}"' not in read(viewer, path)


@pytest.mark.parametrize(
    "query",
    [
        "template=x",
        "preset=x",
        "preset=norms-compared&scale=x",
        "study=99999",
        "job=99999",
    ],
)
def test_what_is_not_there_is_a_page_that_leads_on(member: TestClient, query: str) -> None:
    answer = member.get(f"/submit?{query}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_what_people_write_is_text(member: TestClient) -> None:
    document = study(description="</textarea><script>alert(1)</script>")
    made = member.post("/api/v1/studies", json=document).json()["id"]
    page = read(member, f"/submit?study={made}")
    assert "<script>alert" not in page
    assert read_document(text_of(page))["description"] == document["description"]
    assert "<script>alert" not in check(member, "<script>alert(1)</script>: 1\nmodel: {}")


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        (write(job(norm__kind="bacth")), 8, 3, "did you mean &#39;batch&#39;?"),
        ("dataset: {name: digits}\nmodel: {name: cnn}\nnorm: {kind: group, groups: 5}\n", 3, 21, "one of 1, 2, 4, 8, 16, 32"),
        (write(study(base__optimizer__lrate=0.1)), 12, 5, "the keys allowed here are"),
        ("a: [1\nb: 2", 2, 2, "broken YAML"),
        ("model: 1\nmodel: 2\n", 2, 1, "appears twice"),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_its_place_and_what_would_be_right(
    viewer: TestClient, text: str, line: int, column: int, said: str
) -> None:
    outcome = check(viewer, text)
    assert f'data-line="{line}" data-column="{column}"' in outcome
    assert said in outcome
    assert "<button" not in outcome


STUDY_WITH_MISTAKES = """\
name: norms
sedes: 3
declared: {libary: the same, weigth: the same}
looks: [16, 8]
base:
  dataset: {name: digits}
  model: {name: cnn, width: 8}
  optimizer: {kind: sgd, lr: -1}
variants:
  batch: {norm: {kind: bacth}}
  group: {norm: {kind: group, groups: 5}}
exclude: [{variant: layer}]
"""
JOB_WITH_MISTAKES = """\
dataset: {name: digits}
model: {name: cnn, width: 8}
norm: {kind: group, groups: 5}
optimizer: {kind: sgd, lr: -1}
"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (STUDY_WITH_MISTAKES, [2, 3, 4, 8, 10, 11, 12]),
        (STUDY_WITH_MISTAKES.replace("name: digits", "name: digit"), [2, 3, 4, 6, 8, 10, 12]),
        (JOB_WITH_MISTAKES, [3, 4]),
        (JOB_WITH_MISTAKES.replace("name: cnn", "name: cnnn").replace("digits", "digit"), [1, 2, 4]),
    ],
    ids=["study", "study on what is not there", "job", "job on what is not there"],
)  # fmt: skip
def test_all_mistakes_are_told_at_once_wherever_they_are_found(
    member: TestClient, text: str, lines: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MOST_SECONDS_OF_REFUSED", PATIENCE_SECONDS)
    outcome = check(member, text)
    told = [int(line) for line in re.findall(r'data-line="(\d+)"', outcome)]
    assert told == sorted(told)
    assert sorted(set(told)) == lines, outcome


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the body is empty"),
        ("- 1", "must be a mapping"),
        ("#" * 2**21, "at most 1048576 bytes"),
    ],
)
def test_a_problem_of_the_whole_document_has_no_line(
    member: TestClient, text: str, said: str
) -> None:
    outcome = check(member, text)
    assert said in outcome
    assert "data-line" not in outcome
    assert 'data-summary="1 problem"' in outcome


def test_a_plan_says_what_it_costs_and_what_will_come_of_it(member: TestClient) -> None:
    document = study(seeds=8, matrix={"training.batch_size": [64, 32]})
    outcome = check(member, write(document))
    assert "32 (2 variants × 2 points × 8 seeds)" in outcome
    assert "unknown: no comparable job has been trained" in outcome
    assert "A verdict is possible: 8 seeds" in outcome
    assert 'data-submit="/api/v1/studies" data-then="/studies"' in outcome
    member.post("/api/v1/studies", json=document)
    assert "32 jobs wait now" in check(member, write(JOB))


def test_what_was_trained_before_is_reused_or_trained_again(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        make_worker(session)
    assert "Train all again" not in check(member, write(JOB))
    assert member.post("/api/v1/jobs", json=JOB).status_code == 202
    with sessions.begin() as session:
        job = acquire_job(session)
        assert job is not None
        finish_training(session, job)

    outcome = check(member, write(JOB))

    assert "1 of 1 job: trained before" in outcome
    assert "nothing is left to train" in outcome
    assert 'data-submit="/api/v1/jobs?fresh=true"' in outcome


def test_the_button_is_for_those_who_may_submit(member: TestClient, viewer: TestClient) -> None:
    for client, may in ((member, True), (viewer, False)):
        assert ("You are a viewer" in read(client, "/submit")) is not may
        assert ("<button" in check(client, write(JOB))) is may


def test_the_page_is_small_with_all_that_it_loads(member: TestClient) -> None:
    page = read(member, "/submit")
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert "/static/codemirror.min.js" in assets
    paths = ["/submit", *assets, "/api/v1/schemas/study", "/api/v1/schemas/job"]
    sizes = {path: len(gzip.compress(member.get(path).content, 9)) for path in paths}
    assert sum(sizes.values()) <= MOST_BYTES, json.dumps(sizes, indent=2)


def test_what_both_schemas_define_is_the_same_in_both(member: TestClient) -> None:
    """The page joins them."""
    study, job = (
        member.get(f"/api/v1/schemas/{name}").json()["$defs"] for name in ("study", "job")
    )
    assert {name: study[name] for name in study.keys() & job.keys()} == {
        name: job[name] for name in study.keys() & job.keys()
    }


def test_of_one_person_no_two_documents_are_checked_at_the_same_time(
    app: FastAPI, member: TestClient, viewer: TestClient
) -> None:
    person = member.get("/api/v1/users/me").json()["id"]
    with app.state.services.drafts.held_by(person):
        outcome = check(member, write(JOB))
        assert 'data-summary="Not checked yet" data-retry="2"' in outcome
        assert "another document of yours is being checked" in outcome
        # Others don't wait for that.
        assert 'data-summary="A valid job"' in check(viewer, write(JOB))
    assert 'data-summary="A valid job"' in check(member, write(JOB))


def test_a_document_with_a_base_and_no_variants_is_told_what_a_study_needs(
    member: TestClient,
) -> None:
    outcome = check(member, write({"base": job(), "seeds": 2}))
    assert "a study needs `variants`" in outcome
    assert "unknown key" not in outcome
