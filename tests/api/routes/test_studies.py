"""Studies over REST: submitted, planned, steered as one, extended, compared."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from scipy import stats
from sqlalchemy.orm import Session, sessionmaker

from api.admission import _merge_warnings
from api.checks import Arm
from api.processes.spec_checker import Checker
from studies.spec.expand import Cell, arm_name
from tests.support.documents import JOB, STUDY, study
from tests.support.factories import set_job
from tests.support.trained_study import train_all, train_all_with_another_numpy_for_the_last
from trainer.spec.job import JobSpec
from trainer.spec.report import Report


def submit(client: TestClient, document: Any = None, **headers: str) -> dict[str, Any]:
    answer = client.post("/api/v1/studies", json=document or STUDY, headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def jobs_of(client: TestClient, study_id: int) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/studies/{study_id}/jobs", params={"limit": 500})
    found: list[dict[str, Any]] = answer.json()["items"]
    return found[::-1]


def test_a_submitted_study_has_a_job_for_every_cell(member: TestClient) -> None:
    made = submit(member)
    told_once = {"same_as": [], "notes": []}
    assert made == member.get(f"/api/v1/studies/{made['id']}").json() | told_once
    assert (made["status"], made["baseline"], made["metric"]) == ("queued", "none", "test_accuracy")
    assert made["counts"]["queued"] == 4
    jobs = jobs_of(member, made["id"])
    assert [(job["variant"], job["seed"]) for job in jobs] == [
        ("none", 0), ("none", 1), ("group", 0), ("group", 1),
    ]  # fmt: skip
    assert jobs[2]["name"] == "group | seed 0"
    assert jobs[2]["spec"]["norm"]["groups"] == 4
    assert {job["project"] for job in jobs} == {"digits"}


def test_the_baseline_defaults_to_the_first_variant(member: TestClient) -> None:
    assert submit(member, study(baseline=...))["baseline"] == "none"


def test_a_repeated_study_with_its_key_is_one_study(member: TestClient) -> None:
    first = submit(member, **{"Idempotency-Key": "k"})
    assert submit(member, **{"Idempotency-Key": "k"}) == first
    assert len(member.get("/api/v1/studies").json()["items"]) == 1
    assert len(member.get("/api/v1/jobs").json()["items"]) == 4


def test_studies_are_listed_by_owner_and_project(member: TestClient, admin: TestClient) -> None:
    mine, other = submit(member)["id"], submit(admin, study(project="other"))["id"]

    def listed(**filters: Any) -> list[int]:
        found = member.get("/api/v1/studies", params=filters).json()["items"]
        return [one["id"] for one in found]

    assert listed() == [other, mine]
    assert listed(owner="max") == listed(project="digits") == [mine]


def test_a_plan_says_what_would_be_trained_and_makes_nothing(viewer: TestClient) -> None:
    plan = viewer.post(
        "/api/v1/plans", json=study(matrix={"training.batch_size": [64, 8]}, seeds=3)
    ).json()
    assert (plan["kind"], plan["count"], plan["problems"]) == ("study", 12, [])
    assert plan["cells"][0] == {
        "name": "none · batch_size=64 | seed 0",
        "variant": "none",
        "point": {"training.batch_size": 64},
        "seed": 0,
    }
    assert plan["parameters"]["group · batch_size=8"] > 0
    one = viewer.post("/api/v1/plans", json=JOB).json()
    assert (one["kind"], one["count"]) == ("job", 1)
    assert viewer.get("/api/v1/jobs").json()["items"] == []
    assert viewer.get("/api/v1/studies").json()["items"] == []


def test_a_plan_says_sizes_steps_defaults_and_whether_there_can_be_a_verdict(
    viewer: TestClient,
) -> None:
    document = study(matrix={"training.batch_size": [64, 8]}, seeds=3, base__training={"epochs": 2})
    plan = viewer.post("/api/v1/plans", json=document).json()
    assert (plan["variants"], plan["points"], plan["seeds"]) == (2, 2, 3)
    # 1,797 digits: a fifth is cut off as the test split, a fifth of the rest for validation.
    examples = {"train": 1150, "val": 288, "test": 359}
    assert [(arm["name"], arm["examples"], arm["steps"]) for arm in plan["arms"]] == [
        ("none · batch_size=64", examples, 2 * 18),
        ("none · batch_size=8", examples, 2 * 144),
        ("group · batch_size=64", examples, 2 * 18),
        ("group · batch_size=8", examples, 2 * 144),
    ]
    assert plan["steps"] == 3 * sum(arm["steps"] for arm in plan["arms"])
    assert plan["verdict"] == {
        "possible": False,
        "sentence": "3 seeds: intervals only, a verdict needs 8",
    }
    taken = {one["field"]: one["value"] for one in plan["defaults"]}
    assert taken["metric"] == "test_accuracy"
    assert taken["early_stopping.kind"] == "none"
    assert "training.epochs" not in taken
    assert plan["estimate"] is None


def test_a_plan_of_a_tuning_counts_the_trials_and_what_follows(viewer: TestClient) -> None:
    tuned = study(
        tune={"optimizer.lr": [0.01, 0.1], "seeds": [100]}, base__optimizer={"kind": "sgd"}
    )
    plan = viewer.post("/api/v1/plans", json=tuned).json()
    assert (plan["count"], plan["then"], plan["points"]) == (4, 4, 1)
    assert plan["steps"] == 8 * plan["arms"][0]["steps"]


SEARCH: dict[str, Any] = {
    "space": {
        "optimizer.lr": {"kind": "float", "low": 0.001, "high": 1.0, "log": True},
        "norm.groups": {"kind": "categorical", "values": [2, 4], "when": {"norm.kind": "group"}},
    },
    "trials": 6,
    "seeds": [100],
    "sampler": {"kind": "tpe", "startup": 3, "batch": 3},
}


def searching(**changes: Any) -> dict[str, Any]:
    return study(search={**SEARCH, **changes}, base__optimizer={"kind": "sgd"})


def test_a_plan_of_a_search_counts_all_trials_and_lists_the_first(viewer: TestClient) -> None:
    plan = viewer.post("/api/v1/plans", json=searching()).json()
    assert (plan["count"], plan["later_trials"], plan["then"], plan["points"]) == (6, 6, 4, 1)
    assert plan["steps"] == 16 * plan["arms"][0]["steps"]
    assert len(plan["cells"]) == 6


def test_a_submitted_search_says_how_far_it_is(member: TestClient) -> None:
    made = submit(member, searching())
    assert made["search"] == {"trials": 12, "made": 6, "succeeded": 0, "failed": 0, "refused": 0}
    assert made["spec"]["search"]["sampler"]["optuna"]
    assert made["tuning"] is None
    jobs = jobs_of(member, made["id"])
    assert [job["variant"] for job in jobs] == ["none"] * 3 + ["group"] * 3
    assert all(("norm.groups" in job["trial"]) == (job["variant"] == "group") for job in jobs)
    assert submit(member)["search"] is None


def test_a_search_is_extended_while_it_runs_by_seeds_of_the_comparison(member: TestClient) -> None:
    made = submit(member, searching())
    answer = member.post(f"/api/v1/studies/{made['id']}/extend", json={"seeds": 2})
    assert answer.status_code == 202, answer.text
    extended = answer.json()
    assert extended["spec"]["seeds"] == 4
    assert extended["counts"] == made["counts"]
    taken = member.post(f"/api/v1/studies/{made['id']}/extend", json={"seeds": [100]})
    assert taken.status_code == 422
    assert "both have [100]" in taken.text


@pytest.mark.parametrize(
    ("groups", "detail"),
    [
        ({"kind": "categorical", "values": [2, 4]}, "unknown key in none"),
        # Among the first trials it may be missing: the ends of ranges are checked, and each of few numbers.
        ({"kind": "int", "low": 2, "high": 5, "when": {"norm.kind": "group"}}, "3"),
    ],
)
def test_what_a_search_could_come_upon_is_refused_before_anything_is_trained(
    member: TestClient, groups: dict[str, Any], detail: str
) -> None:
    document = searching(space={**SEARCH["space"], "norm.groups": groups})
    answer = member.post("/api/v1/studies", json=document)
    assert answer.status_code == 422
    problems = [one for one in answer.json()["errors"] if detail in one["detail"]]
    assert {one["pointer"] for one in problems} == {"/search/space/norm.groups"}
    assert member.get("/api/v1/studies").json()["items"] == []


def test_a_search_by_another_version_of_its_sampler_is_refused(member: TestClient) -> None:
    document = searching(sampler={"kind": "tpe", "optuna": "4.9.0"})
    answer = member.post("/api/v1/studies", json=document)
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/search/sampler/optuna"]


@pytest.mark.parametrize("place", ["tune", "search"])
def test_no_arm_chooses_the_data_that_it_is_compared_on(member: TestClient, place: str) -> None:
    space = {"dataset.split_seed": {"kind": "int", "low": 1, "high": 9}}
    tuned = study(tune={"dataset.split_seed": [1, 2], "seeds": [100]})
    document = tuned if place == "tune" else searching(space=space)
    answer = member.post("/api/v1/studies", json=document)
    assert answer.status_code == 422
    [problem] = answer.json()["errors"]
    path = "/tune/dataset.split_seed" if place == "tune" else "/search/space/dataset.split_seed"
    assert problem["pointer"] == path
    assert "compared on different data" in problem["detail"]


def test_an_estimate_rests_on_finished_jobs(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    submit(member)
    done = train_all(sessions, storage)
    with sessions.begin() as session:
        for job in done:
            set_job(session, job, step=10, seconds_used=5.0)
    plan = member.post("/api/v1/plans", json=study(seeds=8)).json()
    # 16 jobs of 36 steps, half a second each, on the one slot of the test's worker.
    assert plan["estimate"] == {
        "seconds": [288.0, 288.0],
        "work_seconds": [288.0, 288.0],
        "slots": 1,
        "basis": "measured",
        "jobs": 4,
    }


def test_a_study_that_is_submitted_again_says_so(member: TestClient, admin: TestClient) -> None:
    first = submit(member)["id"]
    member.post(f"/api/v1/studies/{first}/cancel")
    again = submit(admin, study(name="another name", seeds=16))
    assert again["same_as"] == [first]
    [note] = again["notes"]
    assert note.startswith(f"Study {first} trains the same (it is cancelled): to add seeds to it")
    assert "4 jobs that failed or were cancelled can be retried" in note
    assert member.post("/api/v1/plans", json=STUDY).json()["same_as"] == [again["id"], first]
    assert submit(member, study(project="other"))["same_as"] == []
    assert submit(member, study(base__optimizer__lr=0.06))["same_as"] == []


def test_an_extension_says_that_the_verdict_becomes_exploratory(member: TestClient) -> None:
    made = submit(member)
    path = f"/api/v1/studies/{made['id']}/extend"
    [note] = member.post(path, json={"seeds": 2}).json()["notes"]
    assert note.startswith("The verdict is exploratory from now on: 2 seeds were planned")
    looks = submit(member, study(seeds=8, looks=[8, 16]))
    path = f"/api/v1/studies/{looks['id']}/extend"
    assert member.post(path, json={"seeds": 8}).json()["notes"] == []


def test_a_study_that_grows_says_so_before_and_after_it_is_submitted(member: TestClient) -> None:
    document = study(seeds="until decided, at most 40")
    plan = member.post("/api/v1/plans", json=document).json()
    assert (plan["count"], plan["seeds"], plan["most_seeds"]) == (16, 8, 40)
    assert (plan["bill"]["jobs"], plan["bill"]["least_device_seconds"]) == (80, None)
    assert plan["verdict"]["sentence"].startswith("8 to 40 seeds: after 8, 16, 24, 32 and 40")
    made = submit(member, document)
    assert (made["spec"]["seeds"], made["spec"]["looks"]) == (8, [8, 16, 24, 32, 40])
    assert made["growth"] == {
        "look": 1, "looks": [8, 16, 24, 32, 40], "seeds": 8, "most_seeds": 40, "state": "growing",
        "sentence": "look 1 of 5: 16 jobs to come until 8 of at most 40 seeds",
    }  # fmt: skip
    assert made["notes"] == []
    assert submit(member)["growth"] is None


def test_a_study_that_grows_is_extended_to_its_looks_only(member: TestClient) -> None:
    path = (
        f"/api/v1/studies/{submit(member, study(seeds='until decided, at most 40'))['id']}/extend"
    )
    answer = member.post(path, json={"seeds": 4})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/seeds"
    assert "would make 12 seeds, but the study grows by itself" in error["detail"]
    extended = member.post(path, json={"seeds": 8}).json()
    assert (extended["spec"]["seeds"], extended["growth"]["look"]) == (16, 2)
    assert extended["notes"] == []


def test_jobs_of_a_study_that_grows_are_trained(member: TestClient) -> None:
    """The transaction in which the last of them ends makes the next ones."""
    made = submit(member, study(seeds="until decided, at most 40"))
    assert made["reused"] == 0
    plan = member.post("/api/v1/plans", json=study(seeds="until decided, at most 40")).json()
    assert plan["bill"]["reused"] == 0


@pytest.mark.parametrize(
    ("changes", "pointer", "said"),
    [
        ({"seeds": "until sure"}, "/seeds", "or 'until decided, at most 40'"),
        ({"metric": "epochs"}, "/metric", "neither an accuracy nor a loss"),
        ({"seeds": "until decided, at most 1000", "matrix": {"optimizer.lr": [0.01 * n for n in range(1, 20)]}}, "/matrix", "but this one has 38000"),
    ],
)  # fmt: skip
def test_a_study_that_could_not_grow_is_refused(
    member: TestClient, changes: dict[str, Any], pointer: str, said: str
) -> None:
    answer = member.post(
        "/api/v1/studies", json=study(**{"seeds": "until decided, at most 40", **changes})
    )
    assert answer.status_code == 422, answer.text
    errors = {one["pointer"]: one["detail"] for one in answer.json()["errors"]}
    assert said in errors.get(pointer, ""), errors


def test_values_are_set_by_the_address(member: TestClient) -> None:
    wanted = {"set": ["base.optimizer.lr=1e-3", "seeds=1"]}
    headers = {"Idempotency-Key": "k"}
    answer = member.post("/api/v1/studies", json=STUDY, params=wanted, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json()["spec"]["base"]["optimizer"]["lr"] == 0.001
    assert answer.json()["counts"]["queued"] == 2
    # The same key with other values is another request.
    other = member.post("/api/v1/studies", json=STUDY, params={"set": "seeds=2"}, headers=headers)
    assert other.status_code == 422
    lost = member.post("/api/v1/plans", json=STUDY, params={"set": "name.x=1"})
    assert lost.status_code == 422
    [error] = lost.json()["errors"]
    assert error["parameter"] == "set"
    assert "'name.x=1': name has no field 'x'" in error["detail"]
    unknown = member.post("/api/v1/plans", json=STUDY, params={"set": "base.optimzer.lr=1"})
    assert [one["pointer"] for one in unknown.json()["errors"]] == ["/base/optimzer"]


def test_the_priority_of_a_study_changes_for_its_jobs_that_have_not_ended(
    member: TestClient, sign_in: Any
) -> None:
    made = submit(member)
    first, *others = jobs_of(member, made["id"])
    member.post(f"/api/v1/jobs/{first['id']}/cancel")
    path = f"/api/v1/studies/{made['id']}/priority"
    assert member.post(path, json={"priority": "high"}).status_code == 200
    assert [job["priority"] for job in jobs_of(member, made["id"])] == ["normal", *["high"] * 3]
    transitions = member.get(f"/api/v1/jobs/{others[0]['id']}/transitions").json()["items"]
    assert [(one["who"], one["to_status"], one["why"]) for one in transitions] == [
        ("max", "queued", "submitted"),
        ("max", "queued", "priority changed from normal to high"),
    ]
    line = member.get("/api/v1/queue").json()["queued"]
    assert {(one["study_id"], one["study"], one["priority"]) for one in line} == {
        (made["id"], "norms", "high")
    }
    assert sign_in("eve:member").post(path, json={"priority": "low"}).status_code == 403
    assert member.post(path, json={"priority": "now"}).status_code == 422
    ended = member.post(f"/api/v1/jobs/{first['id']}/priority", json={"priority": "low"})
    assert ended.status_code == 409


def test_a_warning_names_the_variants_that_it_concerns(member: TestClient) -> None:
    made = submit(
        member,
        study(
            base__regularization=[{"kind": "dropout", "p": 0.2}],
            variants__batch={"norm": {"kind": "batch"}},
        ),
    )
    [warning] = made["warnings"]
    assert warning.startswith("batch: dropout before batch norm")
    warned = {job["variant"] for job in jobs_of(member, made["id"]) if job["warnings"]}
    assert warned == {"batch"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, ()),
        ({"a": [1, 2], "b": [1, 2]}, ("careful",)),
        ({"b": [1, 2]}, ("b: careful",)),
        ({"a": [1], "b": [1, 2]}, ("a · lr=1, b: careful",)),
    ],
)
def test_a_warning_is_said_once_with_the_fewest_names(
    said: dict[str, list[int]], told: tuple[str, ...]
) -> None:
    spec = JobSpec.model_validate(JOB)
    arms = [
        Arm(
            arm_name(variant, {"lr": lr}),
            variant,
            {"lr": lr},
            (Cell("", variant, {}, 0, spec, ""),),
        )
        for variant in ("a", "b")
        for lr in (1, 2)
    ]
    # The same words of a warning and of a note are one thing to say.
    reports = [
        Report(warnings=("careful",), notes=("careful",))
        if arm.point["lr"] in said.get(arm.variant, [])
        else Report()
        for arm in arms
    ]
    assert _merge_warnings(arms, reports) == told


def test_each_variant_and_point_is_checked_once_whatever_its_seeds(
    member: TestClient, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[JobSpec] = []
    check = Checker.check

    def counting(self: Checker, spec: JobSpec, *rest: Any) -> Any:
        asked.append(spec)
        return check(self, spec, *rest)

    monkeypatch.setattr(Checker, "check", counting)
    submit(member, study(seeds=20, matrix={"training.batch_size": [64, 32]}))
    assert len(asked) == 4


def test_all_jobs_of_a_study_are_paused_resumed_cancelled_and_retried(member: TestClient) -> None:
    path = f"/api/v1/studies/{submit(member)['id']}"

    def after(verb: str, **parameters: Any) -> str:
        answer = member.post(f"{path}/{verb}", params=parameters)
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["status"]
        return found

    assert after("pause") == "paused"
    assert after("resume") == "queued"
    assert after("cancel") == "cancelled"
    for verb in ("cancel", "pause", "resume", "retry"):
        assert member.post(f"{path}/{verb}").status_code == 409
    assert after("retry", cancelled=True) == "queued"


def test_a_finished_study_keeps_its_results_when_it_is_cancelled(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    path = f"/api/v1/studies/{submit(member)['id']}"
    train_all(sessions, storage)
    assert member.get(path).json()["status"] == "succeeded"
    assert member.post(f"{path}/cancel").status_code == 409
    assert member.get(path).json()["status"] == "succeeded"


def test_a_study_grows_by_seeds(member: TestClient, viewer: TestClient) -> None:
    made = submit(member, study(matrix={"training.batch_size": [64], "optimizer.lr": [0.1, 0.05]}))
    path = f"/api/v1/studies/{made['id']}"
    grown = member.post(f"{path}/extend", json={"seeds": 2})
    assert grown.status_code == 202, grown.text
    assert grown.json()["spec"]["seeds"] == 4
    assert grown.json()["counts"]["queued"] == 16
    names = [job["name"] for job in jobs_of(member, made["id"])]
    assert len(set(names)) == 16
    # The jobs of an arm bear its one name, whenever they were made.
    assert len({name.split(" | ")[0] for name in names}) == 4
    again = member.post(f"{path}/extend", json={"seeds": [3, 7]}).json()
    assert again["spec"]["seeds"] == [0, 1, 2, 3, 7]
    assert again["counts"]["queued"] == 20


def test_an_extension_that_is_sent_twice_with_its_key_adds_its_seeds_once(
    member: TestClient,
) -> None:
    made = submit(member)
    path = f"/api/v1/studies/{made['id']}/extend"
    before = len(jobs_of(member, made["id"]))
    answers = [
        member.post(path, json={"seeds": 1}, headers={"Idempotency-Key": "more"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert len(jobs_of(member, made["id"])) == before + len(made["spec"]["variants"])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/seeds"),
        ({"seeds": 0}, "/seeds"),
        ({"seeds": [-1]}, "/seeds/0"),
        ({"seeds": "many"}, "/seeds"),
        ({"seeds": 1, "more": 2}, "/more"),
    ],
)
def test_a_bad_extension_is_refused(member: TestClient, body: Any, pointer: str) -> None:
    path = f"/api/v1/studies/{submit(member)['id']}"
    answer = member.post(f"{path}/extend", json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert member.get(path).json()["counts"]["queued"] == 4


def test_the_comparison_equals_scipy_s_over_the_results(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    made = submit(member, study(seeds=9))
    train_all(sessions, storage)
    answer = member.get(f"/api/v1/studies/{made['id']}/comparison")
    assert answer.status_code == 200
    rows = member.get("/api/v1/results", params={"study": made["id"], "limit": 100}).json()["items"]
    values = {
        (row["variant"], row["seed"]): row["metrics"]["test_accuracy"]
        for row in rows
        if row["metrics"]["test_accuracy"] is not None
    }
    assert len(values) == 17
    none, group = answer.json()["variants"]
    for one in (none, group):
        own = [value for (variant, _), value in values.items() if variant == one["variant"]]
        assert one["n"] == len(own)
        low, high = stats.t.interval(0.95, len(own) - 1, sum(own) / len(own), stats.sem(own))
        assert one["interval"] == pytest.approx([low, high])
    assert (none["diverged"], none["incomplete"]) == (1, True)
    pairs = [
        (values["group", seed], values["none", seed])
        for seed in range(9)
        if ("none", seed) in values
    ]
    test = stats.ttest_rel(*zip(*pairs, strict=True))
    assert group["difference"]["n"] == 8
    assert group["difference"]["p_value"] == pytest.approx(test.pvalue)


def test_a_comparison_of_another_metric(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    path = f"/api/v1/studies/{submit(member)['id']}/comparison"
    train_all(sessions, storage)
    other = member.get(path, params={"metric": "test_loss"}).json()
    assert (other["metric"], other["higher_is_better"]) == ("test_loss", False)
    assert other["variants"][0]["mean"] == 0.25
    assert member.get(path, params={"metric": "no metric"}).status_code == 422
    unknown = member.get(path, params={"metric": "test_acuracy"})
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["parameter"] == "metric"
    assert "test_accuracy" in unknown.json()["errors"][0]["detail"]
    assert member.get("/api/v1/studies/99/comparison").status_code == 404


def test_a_hidden_difference_withholds_the_ranking_until_somebody_stands_for_it(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    path = f"/api/v1/studies/{submit(member, study(seeds=8))['id']}"
    train_all_with_another_numpy_for_the_last(sessions, storage)
    withheld = member.get(f"{path}/comparison").json()
    assert withheld["verdict"]["state"] == "withheld"
    assert "declare 'libraries' with a reason" in withheld["verdict"]["reasons"][0]

    body = {"kind": "libraries", "why": "only dates changed"}
    declared = member.post(f"{path}/declarations", json=body).json()["declared"]["libraries"]
    assert (declared["why"], declared["who"]) == ("only dates changed", "max")
    answer = member.get(f"{path}/comparison").json()
    assert answer["verdict"]["state"] == "decided"
    assert [one["declared"] for one in answer["confounds"]] == ["only dates changed"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "weather", "why": "rain"}, "/kind"),
        ({"kind": "code", "why": ""}, "/why"),
        ({"kind": "code"}, "/why"),
        ({"kind": "code", "why": "x", "who": "me"}, "/who"),
    ],
)
def test_a_bad_declaration_is_refused(member: TestClient, body: Any, pointer: str) -> None:
    path = f"/api/v1/studies/{submit(member)['id']}"
    answer = member.post(f"{path}/declarations", json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert member.get(path).json()["declared"] == {}


def test_an_extension_that_nobody_announced_makes_the_verdict_exploratory(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    made = submit(member, study(seeds=8))
    path = f"/api/v1/studies/{made['id']}"
    assert made["planned_seeds"] == list(range(8))
    member.post(f"{path}/extend", json={"seeds": 2})
    jobs = train_all(sessions, storage)
    with sessions.begin() as session:
        for job in jobs:
            set_job(session, job, reason="completed", metrics={"test_accuracy": 0.9})
    answer = member.get(f"{path}/comparison").json()
    assert answer["verdict"]["state"] == "exploratory"
    assert (answer["plan"]["seeds"], answer["plan"]["analysed"]) == (8, 10)
    assert member.get(path).json()["planned_seeds"] == list(range(8))


def test_a_study_starts_with_as_many_seeds_as_a_look_has(member: TestClient) -> None:
    answer = member.post("/api/v1/studies", json=study(seeds=10, looks=[8, 16]))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/seeds"
    assert submit(member, study(seeds=8, looks=[8, 16]))["counts"]["queued"] == 16


def test_resampled_splits_are_cut_by_the_seed(member: TestClient) -> None:
    made = submit(member, study(seeds=3, splits="resampled"))
    jobs = member.get(f"/api/v1/studies/{made['id']}/jobs").json()["items"]
    assert {(job["seed"], job["spec"]["dataset"]["split_seed"]) for job in jobs} == {
        (0, 0), (1, 1), (2, 2),
    }  # fmt: skip
    refused = study(splits="resampled", base__dataset={"name": "digits", "split_seed": 4})
    answer = member.post("/api/v1/studies", json=refused)
    assert answer.json()["errors"][0]["pointer"] == "/splits"


def test_a_kind_of_difference_that_there_is_not_is_refused_at_submission(
    member: TestClient,
) -> None:
    answer = member.post("/api/v1/studies", json=study(declared={"libary": "a typo"}))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/declared/libary"
