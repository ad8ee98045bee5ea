"""Models of packages of plugins over REST: a spec names what is offered, and is given the package's digest."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.db import Job
from tests.support.documents import job, study
from tests.support.factories import make_worker
from tests.support.plugin_packages import NETS, write_package
from tests.support.submissions import refuse, submit
from trainer.checks import check
from trainer.plugins import find_plugin, loading
from trainer.spec import DatasetInfo, JobSpec, Report

Sessions = sessionmaker[Session]
TINY = {"name": "plugin:tiny"}


class ChecksHere:
    """As the checker, in this process: its helpers began before the test had a package."""

    def check(self, spec: JobSpec, info: DatasetInfo, *_: Any) -> Report:
        return check(spec, info)


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: Callable[..., None]
) -> Iterator[Path]:
    """A folder with `lab-nets`, which may be used."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NORMLAB_PLUGINS", "lab-nets")
    monkeypatch.setattr(loading, "_loaded", {})
    replace(checker=ChecksHere())
    write_package(tmp_path)
    yield tmp_path
    sys.modules.pop("lab_nets", None)


def installed() -> dict[str, str]:
    return find_plugin("model", "tiny").installed.model_dump()


def change(site: Path) -> None:
    (site / "lab_nets.py").write_text(NETS.replace("width=8", "width=9"))


def test_a_job_records_the_package_s_version_and_digest(member: TestClient, site: Path) -> None:
    made = submit(member, job(model=TINY))
    assert made["spec"]["model"] == {**TINY, "options": {}, "installed": installed()}


def test_the_same_code_is_the_same_job_and_other_code_is_another(
    member: TestClient, site: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = submit(member, job(model=TINY)), submit(member, job(model=TINY))
    change(site)
    # As after a restart.
    monkeypatch.setattr(loading, "_loaded", {})
    other = submit(member, job(model=TINY))
    with sessions.begin() as session:
        hashes = [session.get_one(Job, one["id"]).hash for one in (first, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_name_that_no_package_offers_is_one_problem(member: TestClient, site: Path) -> None:
    problem = refuse(member, job(model={"name": "plugin:tini"}))
    assert problem["pointer"] == "/model/name"
    assert problem["detail"] == (
        "lab-nets (NORMLAB_PLUGINS) has no model plugin:tini; there is plugin:tiny"
    )
    assert "normlab catalog plugins" in problem["remedy"]


def test_an_installation_without_plugins_says_so(member: TestClient) -> None:
    problem = refuse(member, job(model=TINY))
    assert problem["detail"] == (
        "there is no model plugin:tiny: no package of plugins is named in NORMLAB_PLUGINS"
    )


def test_a_study_keeps_the_packages_for_the_jobs_that_are_made_later(
    member: TestClient, site: Path
) -> None:
    document = study(seeds=2)
    document["base"] = {**document["base"], "model": TINY}
    made = submit(member, document, "studies")
    assert made["spec"]["plugins"] == {"model:tiny": installed()}
    jobs = member.get(f"/api/v1/studies/{made['id']}/jobs").json()["items"]
    assert {one["spec"]["model"]["installed"]["digest"] for one in jobs} == {installed()["digest"]}


def test_a_study_is_not_extended_with_other_code(member: TestClient, site: Path) -> None:
    document = study(seeds=2)
    document["base"] = {**document["base"], "model": TINY}
    number = submit(member, document, "studies")["id"]
    submit(member, {"seeds": 1}, f"studies/{number}/extend")
    before = installed()["digest"]
    change(site)
    problem = refuse(member, {"seeds": 1}, f"studies/{number}/extend")
    assert problem["detail"] == (
        f"it was submitted with lab-nets 1.0 ({before}), but lab-nets 1.0 ({installed()['digest']}) is installed now"
    )


TRIED: Mapping[str, Any] = {
    "tune": {
        "settings": {"model": [{"name": "mlp", "hidden": [8]}, TINY]},
        "seeds": [100],
    },
    "search": {
        "space": {
            "model": {"kind": "categorical", "values": [{"name": "mlp", "hidden": [8]}, TINY]},
            "optimizer.lr": {"kind": "float", "low": 0.01, "high": 0.1},
        },
        "trials": 4,
        "seeds": [100],
    },
}


@pytest.mark.parametrize("kind", list(TRIED))
def test_trials_of_a_model_that_no_cell_has_yet_are_pinned_too(
    member: TestClient, site: Path, kind: str
) -> None:
    made = submit(member, {**study(seeds=2), kind: TRIED[kind]}, "studies")
    assert made["spec"]["plugins"] == {"model:tiny": installed()}
    jobs = member.get(f"/api/v1/studies/{made['id']}/jobs").json()["items"]
    models = [one["spec"]["model"] for one in jobs]
    assert {"mlp", "plugin:tiny"} == {one["name"] for one in models}
    assert all(one["installed"] == installed() for one in models if one["name"] == "plugin:tiny")


def test_a_tried_model_that_no_package_offers_is_one_problem(
    member: TestClient, site: Path
) -> None:
    settings = {"model": [{"name": "mlp", "hidden": [8]}, {"name": "plugin:tini"}]}
    tune = {"settings": settings, "seeds": [100]}
    problem = refuse(member, {**study(seeds=2), "tune": tune}, "studies")
    assert problem["pointer"] == "/tune/model"
    assert "has no model plugin:tini" in problem["detail"]


def test_a_document_that_names_other_code_is_refused(member: TestClient, site: Path) -> None:
    other = {**installed(), "digest": "0" * 32}
    problem = refuse(member, job(model={**TINY, "installed": other}))
    assert problem["pointer"] == "/model/installed"


def test_a_metric_s_package_is_recorded_too(member: TestClient, site: Path) -> None:
    metric = {"name": "plugin:balanced_accuracy"}
    made = submit(member, job(evaluations=[{"metrics": [metric]}]))
    assert made["spec"]["evaluations"][0]["metrics"] == [{**metric, "installed": installed()}]
    problem = refuse(
        member, job(evaluations=[{}, {"name": "x", "metrics": [{"name": "plugin:b"}]}])
    )
    assert problem["pointer"] == "/evaluations/1/metrics/0/name"


def test_a_study_s_metric_of_record_may_be_a_package_s(member: TestClient, site: Path) -> None:
    document = study(seeds=2, metric="test_balanced_accuracy")
    evaluations = [{"metrics": [{"name": "plugin:balanced_accuracy"}]}]
    document["base"] = {**document["base"], "evaluations": evaluations}
    made = submit(member, document, "studies")
    assert list(made["spec"]["plugins"]) == ["metric:balanced_accuracy"]


def test_data_of_a_package_are_registered_with_its_digest(
    member: TestClient, site: Path, sessions: Sessions
) -> None:
    document = {"name": "stripes", "source": {"kind": "plugin", "name": "plugin:stripes"}}
    made = submit(member, document, "datasets")
    assert made["source"]["installed"] == installed()
    with sessions.begin() as session:
        package = str(find_plugin("dataset", "stripes").installed)
        assert session.get_one(Job, made["job_id"]).packages == [package]
    document["source"]["name"] = "plugin:tiny"
    problem = refuse(member, document, "datasets")
    assert problem["pointer"] == "/source/name"


def test_the_catalogue_lists_what_is_offered_and_where_it_is_missing(
    member: TestClient, site: Path, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", packages=[str(find_plugin("model", "tiny").installed)])
        make_worker(session, "beta")
    choices = {one["kind"]: one for one in member.get("/api/v1/catalog").json()["plugins"]}
    tiny = choices["plugin:tiny"]
    assert tiny["description"] == f"model of lab-nets 1.0 ({installed()['digest']})"
    assert tiny["pitfalls"] == ["not on beta: install this package there and restart the worker"]


def test_the_catalogue_says_what_is_wrong_with_a_package(
    member: TestClient, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_PLUGINS", "lab-scores")
    [choice] = member.get("/api/v1/catalog").json()["plugins"]
    assert choice["description"] == "lab-scores is named in NORMLAB_PLUGINS but not installed here"
