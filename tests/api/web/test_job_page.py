"""A job's page: its spec beside the baseline's, what it offers to change, and what was measured in its layers."""

import html
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.jobs import commands
from store.mlflow import mirror_problems
from store.mlflow.mirror_problems import Subject
from tests.support.documents import JOB, study
from tests.support.factories import acquire_job, make_worker
from tests.support.trained_study import train_all
from trainer.events import Diagnosed

Sessions = sessionmaker[Session]
LAYERS = {"conv": {"gradient_norm": 1.5}, "norm": {"after_mean": 0.25}}


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def measure(sessions: Sessions, job: int) -> None:
    """It runs, and two epochs of it are measured."""
    with sessions.begin() as session:
        make_worker(session)
        assert acquire_job(session) is not None
        for epoch in (1, 2):
            commands.record_diagnosis(session, job, 1, Diagnosed(epoch, 10 * epoch, LAYERS))


def test_a_job_says_what_its_spec_has_otherwise_than_the_baseline_s(member: TestClient) -> None:
    made = member.post("/api/v1/studies", json=study()).json()["id"]
    jobs = member.get(f"/api/v1/studies/{made}/jobs").json()["items"]
    cells = {(one["variant"], one["seed"]): one["id"] for one in jobs}
    page = read(member, f"/jobs/{cells['group', 1]}")
    rows = re.findall(
        r"<tr><th scope=\"row\"><code>([^<]+)</code></th><td>([^<]*)</td><td>([^<]*)</td></tr>",
        page,
    )
    assert ("norm.kind", "none", "group") in rows
    assert ("norm.groups", "–", "4") in rows
    assert "seed" not in {path for path, *_ in rows}
    assert f'<a href="/jobs/{cells["none", 1]}">' in page
    own = read(member, f"/jobs/{cells['none', 1]}")
    assert "This is the baseline" in own
    assert "Compared with the baseline" not in own


def test_a_list_in_a_spec_is_written_as_one_writes_it(member: TestClient) -> None:
    dropout = {"kind": "dropout", "p": 0.2}
    made = member.post(
        "/api/v1/studies", json=study(variants__group__regularization=[dropout])
    ).json()["id"]
    jobs = member.get(f"/api/v1/studies/{made}/jobs").json()["items"]
    job = next(one for one in jobs if one["variant"] == "group")
    assert "<td>[]</td><td>[{kind: dropout, p: 0.2" in read(member, f"/jobs/{job['id']}")


def test_a_job_without_a_study_has_nothing_beside_it(member: TestClient) -> None:
    page = read(member, f"/jobs/{member.post('/api/v1/jobs', json=JOB).json()['id']}")
    assert "baseline" not in page.lower()


def test_a_job_s_priority_tags_note_and_place_in_lists_can_be_changed(
    member: TestClient, viewer: TestClient
) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    page = read(member, f"/jobs/{job}")
    assert re.search(r"<option selected>normal</option>", page)
    assert "Archive</button>" not in page
    member.post(f"/api/v1/jobs/{job}/priority", json={"priority": "high"})
    member.patch(f"/api/v1/jobs/{job}", json={"tags": ["mine"], "note": "<i>x</i>"})
    member.post(f"/api/v1/jobs/{job}/cancel")
    page = read(member, f"/jobs/{job}")
    assert "priority high" in page
    assert "#mine" in page
    assert "&lt;i&gt;x&lt;/i&gt;" in page
    # A priority is of jobs that still wait for something; a job that has ended can be put away.
    assert f"POST /api/v1/jobs/{job}/priority" not in page
    assert "Archive</button>" in page
    member.patch(f"/api/v1/jobs/{job}", json={"archived": True})
    assert "Unarchive</button>" in read(member, f"/jobs/{job}")
    seen = read(viewer, f"/jobs/{job}")
    assert not any(part in seen for part in ("data-api", "data-send", 'data-post="/api'))


def test_what_mlflow_lacks_of_a_job_is_on_its_page(member: TestClient, sessions: Sessions) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    with sessions.begin() as session:
        mirror_problems.note(session, Subject("model", job_id=job), "it is <too> large")
    assert "MLflow lacks its model: it is &lt;too&gt; large" in read(member, f"/jobs/{job}")


def test_layers_are_drawn_once_they_were_measured(member: TestClient, sessions: Sessions) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    assert "data-layers" not in read(member, f"/jobs/{job}")
    measure(sessions, job)
    [address] = re.findall(r'data-layers="([^"]+)"', read(member, f"/jobs/{job}"))
    curves = member.get(address).json()
    assert curves["statistics"] == ["after_mean", "gradient_norm"]
    assert (curves["statistic"], curves["x"], curves["at"]) == ("gradient_norm", "epoch", [1, 2])
    assert curves["layers"] == [{"layer": "conv", "values": [1.5, 1.5]}]
    other = member.get(address, params={"statistic": "after_mean"}).json()
    assert other["layers"] == [{"layer": "norm", "values": [0.25, 0.25]}]
    refused = member.get(address, params={"statistic": "nothing"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["parameter"] == "statistic"


@pytest.mark.parametrize(("most", "drawn", "left_out"), [(3, ["l0", "l2", "l4"], 2), (12, 5, 0)])
def test_of_many_layers_an_even_choice_is_drawn(
    member: TestClient,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    drawn: list[str] | int,
    left_out: int,
) -> None:
    monkeypatch.setattr("studies.report.layer_curves.MOST_LAYERS", most)
    monkeypatch.setattr("studies.report.layer_curves.MOST_POINTS", 3)
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    with sessions.begin() as session:
        make_worker(session)
        assert acquire_job(session) is not None
        for epoch in range(1, 10):
            value = float("nan") if epoch == 9 else float(epoch)
            layers = {f"l{number}": {"weight_norm": value} for number in range(5)}
            commands.record_diagnosis(session, job, 1, Diagnosed(epoch, epoch, layers))
    curves = member.get(f"/api/v1/jobs/{job}/diagnostics/curves").json()
    names = [one["layer"] for one in curves["layers"]]
    assert names == drawn if isinstance(drawn, list) else len(names) == drawn
    assert curves["left_out"] == left_out
    # The first and the last are among them; what isn't finite is none.
    assert curves["at"] == [1, 5, 9]
    assert curves["layers"][0]["values"] == [1.0, 5.0, None]


def test_a_job_without_diagnostics_has_no_curves_of_them(member: TestClient) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    curves = member.get(f"/api/v1/jobs/{job}/diagnostics/curves").json()
    assert (curves["statistics"], curves["layers"]) == ([], [])


def test_another_job_begins_with_a_job_s_weights(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    source = member.post("/api/v1/jobs", json=JOB).json()["id"]
    assert "init_from" not in read(member, f"/jobs/{source}")
    train_all(sessions, storage)
    [address] = re.findall(r'href="(/submit\?init_from=\d+)"', read(member, f"/jobs/{source}"))
    [text] = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", read(member, address), re.DOTALL)
    assert "init_from: {job: " in text
    made = member.post("/api/v1/jobs", content=html.unescape(text)).json()
    assert made["spec"]["init_from"]["job"] == source
    page = read(member, f"/jobs/{made['id']}")
    assert f'Starts from the best weights of <a href="/jobs/{source}">' in page
    assert member.get("/submit?init_from=99999").status_code == 404


def test_a_job_begins_with_what_it_came_to(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = member.post("/api/v1/jobs", json=JOB).json()["id"]
    waiting = read(member, f"/jobs/{made}")
    assert "with the weights of epoch" not in waiting
    train_all(sessions, storage)
    accuracy = member.get(f"/api/v1/jobs/{made}").json()["metrics"]["test_accuracy"]
    page = read(member, f"/jobs/{made}")
    names = re.findall(r"<dt>([^<]*)</dt>", page)
    assert names[:4] == ["test accuracy", "test loss", "best epoch", "epochs"]
    page = re.sub(r"<[^>]+>", "", page)
    assert (
        f"succeeded: {100 * accuracy:.2f} % test accuracy, with the weights of epoch 2 of 2" in page
    )
