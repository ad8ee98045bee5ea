"""Studies with `pretrain` over REST: what is refused, what a plan says, what is added later and what is shown."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.studies import studies
from studies.growth import begin_arms
from tests.support.documents import study
from tests.support.submissions import refuse, submit
from tests.support.trained_study import train_all

Sessions = sessionmaker[Session]


def document(**changes: Any) -> dict[str, Any]:
    """Two variants on two seeds."""
    made = study(
        variants={"batch": {}, "frozen": {"norm": {"frozen": "statistics"}}},
        baseline="batch",
        base__norm={"kind": "batch"},
        pretrain={"training": {"epochs": 3}},
    )
    return {**made, **changes}


def pretrain_all(sessions: Sessions, storage: Path, study_id: int) -> None:
    """As workers do, but for the transaction that it is in."""
    train_all(sessions, storage)
    with sessions.begin() as session:
        for one in studies.jobs_of(session, study_id):
            if one.trial == {}:
                begin_arms(session, one)


def count_jobs(client: TestClient, study_id: int) -> Counter[str]:
    jobs = client.get(f"/api/v1/studies/{study_id}/jobs", params={"limit": 100}).json()["items"]
    return Counter(one["variant"] for one in jobs)


def test_a_plan_counts_both_and_says_what_the_arms_begin_with(member: TestClient) -> None:
    answer = member.post("/api/v1/plans", json=document())
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert (plan["count"], plan["pretrainings"], plan["then"]) == (2, 2, 4)
    assert (plan["variants"], plan["points"], plan["seeds"]) == (2, 1, 2)
    assert {one["name"]: one["jobs"] for one in plan["arms"]} == {
        "pretraining": 2, "batch": 2, "frozen": 2,
    }  # fmt: skip
    steps = {one["name"]: one["steps"] for one in plan["arms"]}
    assert steps["pretraining"] == 1.5 * steps["batch"]
    assert plan["steps"] == 2 * sum(steps.values())
    assert plan["bill"]["jobs"] == 6
    assert "batch, frozen: starts from the weights of the pretraining of its seed (best)" in str(
        plan["warnings"]
    ).replace(" and ", ", ")


def test_pretrainings_come_first_and_are_no_results(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = submit(member, document(), "studies")
    assert count_jobs(member, made["id"]) == {"pretraining": 2}
    assert made["pretraining"] == {"jobs": 2, "succeeded": 0, "failed": 0}
    pretrain_all(sessions, storage, made["id"])
    assert count_jobs(member, made["id"]) == {"pretraining": 2, "batch": 2, "frozen": 2}
    train_all(sessions, storage)
    ended = member.get(f"/api/v1/studies/{made['id']}").json()
    assert (ended["status"], ended["pretraining"]["succeeded"]) == ("succeeded", 2)
    rows = member.get("/api/v1/results", params={"study": made["id"]}).json()["items"]
    assert Counter(row["variant"] for row in rows) == {"batch": 2, "frozen": 2}
    for row in rows:
        begun = member.get(f"/api/v1/jobs/{row['job_id']}").json()["spec"]["init_from"]
        source = member.get(f"/api/v1/jobs/{begun['job']}").json()
        assert (source["variant"], source["seed"]) == ("pretraining", row["seed"])
        [saved] = member.get(f"/api/v1/jobs/{begun['job']}/checkpoints").json()["items"]
        assert saved["digest"] == begun["digest"]


def test_more_seeds_get_a_pretraining_each(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = submit(member, document(), "studies")
    pretrain_all(sessions, storage, made["id"])
    train_all(sessions, storage)
    more = member.post(f"/api/v1/studies/{made['id']}/extend", json={"seeds": 1})
    assert more.status_code == 202, more.text
    assert more.json()["pretraining"]["jobs"] == 3
    assert count_jobs(member, made["id"]) == {"pretraining": 3, "batch": 2, "frozen": 2}
    pretrain_all(sessions, storage, made["id"])
    assert count_jobs(member, made["id"]) == {"pretraining": 3, "batch": 3, "frozen": 3}


def test_an_equal_study_pretrains_anew(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    first = submit(member, document(), "studies")
    pretrain_all(sessions, storage, first["id"])
    train_all(sessions, storage)
    plan = member.post("/api/v1/plans", json=document()).json()
    assert (plan["bill"]["reused"], plan["same_as"]) == (0, [first["id"]])
    again = submit(member, document(), "studies")
    assert again["counts"]["queued"] == 2


def test_a_misfit_is_told_at_its_variant_before_anything_is_trained(member: TestClient) -> None:
    variants = {"batch": {}, "wide": {"model": {"width": 16}}}
    problem = refuse(member, document(variants=variants), "studies")
    assert problem["pointer"] == "/variants/wide"
    assert problem["detail"].startswith("the weights of the pretraining do not fit")
    assert problem["remedy"].endswith("of the pretraining")
    problem = refuse(member, document(pretrain={"model": {"width": 4}}), "studies")
    assert problem["pointer"] == "/pretrain"


def test_a_mistake_in_it_is_told_there(member: TestClient) -> None:
    problem = refuse(member, document(pretrain={"dataset": {"name": "digts"}}), "studies")
    assert problem["pointer"] == "/pretrain/dataset/name"
    problem = refuse(member, document(pretrain={"dataset": {"train_size": 5000}}), "studies")
    assert problem["pointer"] == "/pretrain/dataset/train_size"


def test_another_job_to_begin_from_is_refused_beside_it(member: TestClient) -> None:
    wrong = document()
    wrong["base"] = {**wrong["base"], "init_from": {"job": 1}}
    problem = refuse(member, wrong, "studies")
    assert problem["pointer"] == "/base/init_from/job"
    assert "not from another job" in problem["detail"]


def test_a_study_that_tunes_cannot_pretrain(member: TestClient) -> None:
    tuned = document(tune={"optimizer.lr": [0.1, 0.01], "seeds": [100]})
    answer = member.post("/api/v1/studies", json=tuned)
    assert answer.status_code == 422, answer.text
    assert "/tune" in {one["pointer"] for one in answer.json()["errors"]}


@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_what_is_asked_of_a_study_that_pretrains_is_asked_of_its_pretrainings(
    member: TestClient, verb: str
) -> None:
    made = submit(member, document(), "studies")
    answer = member.post(f"/api/v1/studies/{made['id']}/{verb}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"]["queued"] == 0
