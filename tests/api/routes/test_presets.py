"""Presets and verdicts over REST, and what the sweep keeps of them in SQL and the storage."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage
from store.db.models import Study
from store.studies import studies, verdicts
from studies.presets import find_preset, presets
from studies.rendering import Renderer
from studies.report import ReportInput, available_figures
from tests.support.documents import study
from tests.support.sketches import Sketcher
from tests.support.trained_study import train_all
from worker.sweep.verdicts import judge_ended

NAME = "batch-size-sensitivity"
Sessions = sessionmaker[Session]
CLAIMS = [
    {"name": "better", "says": "Group norm helps", "statistic": "test_accuracy", "rising": ["none", "group"]},
    {"name": "alike", "says": "Group norm does nothing", "paper": "0 points", "statistic": "test_error",
     "flat": ["none", "group"], "margin": 0.5},
]  # fmt: skip


def test_the_catalogue_lists_every_preset_with_claims_and_scales(viewer: TestClient) -> None:
    found = viewer.get("/api/v1/presets").json()["items"]
    assert [one["name"] for one in found] == list(presets())
    for one in found:
        assert one["claims"]
        assert {"toy", "small", "full"} <= {scale["scale"] for scale in one["scales"]}


def test_a_preset_shows_its_paper_and_the_study_of_a_scale(viewer: TestClient) -> None:
    found = viewer.get(f"/api/v1/presets/{NAME}", params={"scale": "small", "dataset": "cifar10"})
    preset = find_preset(NAME)
    assert found.json()["study"] == preset.document("small", "cifar10")
    assert found.json()["study"]["base"]["dataset"]["name"] == "cifar10"
    assert found.json()["caveats"] == list(preset.caveats)
    assert found.json()["digest"] == preset.registration("small").digest


@pytest.mark.parametrize(
    ("path", "parameters", "status", "said"),
    [
        ("no-such", {}, 404, "there is no preset 'no-such' (the presets are "),
        (NAME, {"scale": "huge"}, 422, "scale"),
        (NAME, {"dataset": "cats"}, 422, "must be one of digits, cifar10, but got 'cats'"),
    ],
)
def test_what_there_is_not_is_refused(
    viewer: TestClient, path: str, parameters: dict[str, str], status: int, said: str
) -> None:
    answer = viewer.get(f"/api/v1/presets/{path}", params=parameters)
    assert answer.status_code == status
    assert said in answer.text


def test_a_run_is_a_study_that_knows_its_preset(member: TestClient) -> None:
    answer = member.post(f"/api/v1/presets/{NAME}/runs", json={"scale": "toy"})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    preset = find_preset(NAME)
    assert made["preset"] == {
        "name": NAME, "scale": "toy", "dataset": "digits", "digest": preset.registration("small").digest,
    }  # fmt: skip
    assert (made["project"], made["counts"]["queued"]) == ("presets", preset.cells("toy"))
    runs = member.get(f"/api/v1/presets/{NAME}/runs").json()["items"]
    assert [(run["study"]["id"], run["verdicts"]) for run in runs] == [(made["id"], [])]
    assert not runs[0]["own_seeds"]


def test_the_same_request_runs_once(member: TestClient) -> None:
    def run() -> Any:
        headers = {"Idempotency-Key": "once"}
        return member.post(f"/api/v1/presets/{NAME}/runs", json={"scale": "toy"}, headers=headers)

    assert run().json()["id"] == run().json()["id"]


def test_seeds_and_project_may_be_others(member: TestClient) -> None:
    wanted = {"scale": "toy", "seeds": [7], "project": "mine"}
    made = member.post(f"/api/v1/presets/{NAME}/runs", json=wanted).json()
    assert (made["planned_seeds"], made["project"]) == ([7], "mine")
    (run,) = member.get(f"/api/v1/presets/{NAME}/runs").json()["items"]
    assert run["own_seeds"]


@pytest.mark.parametrize(
    ("wanted", "pointer", "said"),
    [
        ({"scale": "huge"}, "/scale", "toy"),
        ({"scale": "toy", "dataset": "cats"}, "/dataset", "must be one of digits"),
        ({"scales": "toy"}, "/scales", "not a field"),
        (
            {"scale": "small", "dataset": "cifar10"},
            "/dataset",
            "normlab dataset add cifar10 hugging_face:uoft-cs/cifar10@",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_what_would_be_right(
    member: TestClient, wanted: dict[str, Any], pointer: str, said: str
) -> None:
    answer = member.post(f"/api/v1/presets/{NAME}/runs", json=wanted)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert said in answer.text or said == "not a field"


def test_a_viewer_runs_nothing(viewer: TestClient) -> None:
    answer = viewer.post(f"/api/v1/presets/{NAME}/runs", json={"scale": "toy"})
    assert answer.status_code == 403


def claiming(member: TestClient, sessions: Sessions, storage: Path) -> int:
    document = study(claims=CLAIMS, seeds=2)
    made: int = member.post("/api/v1/studies", json=document).json()["id"]
    train_all(sessions, storage)
    return made


def test_verdicts_are_kept_once_all_jobs_have_ended(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    document = study(claims=CLAIMS, seeds=8)
    made = member.post("/api/v1/studies", json=document).json()["id"]
    plain = member.post("/api/v1/studies", json=study(name="claims nothing")).json()["id"]
    assert judge_ended(sessions, FolderStorage(storage)) == []
    train_all(sessions, storage)
    assert judge_ended(sessions, FolderStorage(storage)) == [made]
    assert judge_ended(sessions, FolderStorage(storage)) == []

    shown = member.get(f"/api/v1/studies/{made}/verdicts").json()["items"]
    with sessions.begin() as session:
        kept = verdicts.of_studies(session, [made, plain])
    assert [(one.claim, one.verdict, one.sentence) for one in kept[made]] == [
        (one["name"], one["verdict"], one["sentence"]) for one in shown
    ]
    assert [one.answer for one in kept[made]] == shown
    assert kept[plain] == []
    # One of the jobs has diverged before there was anything to count it with.
    assert all("has no value at 1 seed" in one["sentence"] for one in shown)

    files = {
        one["name"]: one for one in member.get(f"/api/v1/studies/{made}/files").json()["items"]
    }
    path = storage / "studies" / str(made) / "ended" / "report.html"
    assert files["report.html"]["bytes"] == path.stat().st_size
    page = path.read_text()
    assert "Group norm does nothing" in page
    assert "0 points" in page
    assert shown[1]["sentence"].split(":")[0] in page


def test_what_changes_is_judged_again(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = claiming(member, sessions, storage)
    judge_ended(sessions, FolderStorage(storage), Sketcher())
    member.post(f"/api/v1/studies/{made}/extend", json={"seeds": 1})
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == []
    train_all(sessions, storage)
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == [made]
    with sessions.begin() as session:
        kept = verdicts.of_studies(session, [made])[made]
    assert {one.n for one in kept} == {3}
    assert all(one.answer["is_exploratory"] for one in kept)
    with sessions.begin() as session:
        studies.declare(session, made, "torch", "it doesn't matter", "max")
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == [made]


def test_a_study_that_cannot_be_judged_keeps_no_other_from_it(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    broken, whole = (claiming(member, sessions, storage) for _ in range(2))
    with sessions.begin() as session:
        row = session.scalars(select(Study).where(Study.id == broken)).one()
        row.spec = {**row.spec, "base": {}, "variants": {}}
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == [broken, whole]
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == []
    with sessions.begin() as session:
        kept = verdicts.of_studies(session, [broken, whole])
    assert (len(kept[broken]), len(kept[whole])) == (0, 2)
    # A sweep that starts may be of another version.
    with sessions.begin() as session:
        verdicts.retry_failed(session)
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == [broken]


def test_the_report_says_claims_and_preset(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = member.post(f"/api/v1/presets/{NAME}/runs", json={"scale": "toy"}).json()["id"]
    train_all(sessions, storage)
    path = f"/api/v1/studies/{made}/report"
    found = member.get(path, params={"format": "json"}).json()
    preset = find_preset(NAME)
    assert found["preset"]["digest"] == preset.registration("small").digest
    assert [one["name"] for one in found["claims"]] == [
        one.name for one in preset.study_spec("toy").claims
    ]
    assert {one["verdict"] for one in found["claims"]} == {"undecided"}
    text = member.get(path, params={"format": "markdown"}).text
    assert "## Claims" in text
    assert preset.registration("small").digest in text
    assert "a verdict needs 8" in text


def test_a_study_without_claims_has_none(member: TestClient) -> None:
    made = member.post("/api/v1/studies", json=study()).json()["id"]
    assert member.get(f"/api/v1/studies/{made}/verdicts").json()["items"] == []
    assert member.get("/api/v1/studies/99/verdicts").status_code == 404


def test_who_stops_while_a_report_is_drawn_keeps_nothing_and_leaves_it_for_later(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = claiming(member, sessions, storage)
    # However fast a machine draws.
    renderer = Renderer(command=(sys.executable, "-c", "import time; time.sleep(600)"))
    threading.Timer(0.5, renderer.stop).start()
    began = time.monotonic()
    judge_ended(sessions, FolderStorage(storage), renderer)
    assert time.monotonic() - began < 60
    with sessions.begin() as session:
        assert verdicts.of_studies(session, [made])[made] == []
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == [made]


def test_what_is_declared_while_a_report_is_drawn_is_not_overlooked(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = claiming(member, sessions, storage)

    class Interrupted(Renderer):
        def render(self, content: bytes, *arguments: str) -> bytes:
            with sessions.begin() as session:
                studies.declare(session, made, "torch", "it doesn't matter", "max")
            figures = {
                figure.name: ""
                for figure in available_figures(ReportInput.model_validate_json(content))
            }
            return json.dumps({"page": "a drawing", "figures": figures}).encode()

    judge_ended(sessions, FolderStorage(storage), Interrupted())
    with sessions.begin() as session:
        assert verdicts.of_studies(session, [made])[made] == []
    assert judge_ended(sessions, FolderStorage(storage), Sketcher()) == [made]
    assert judge_ended(sessions, FolderStorage(storage)) == []
