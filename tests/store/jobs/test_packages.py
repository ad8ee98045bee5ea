"""Jobs that need a package of plugins go to workers that have it, in the very version that they were submitted with."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job
from store.hosts import host_views
from store.jobs import obstacles, preemption
from tests.support.factories import acquire_job, make_job, make_worker
from trainer.spec import InstalledPackage

Sessions = sessionmaker[Session]

OLD = InstalledPackage(package="lab-nets", version="1.0", digest="0" * 32)
NEW = InstalledPackage(package="lab-nets", version="1.1", digest="1" * 32)


def make_plugin_job(session: Session, package: InstalledPackage = NEW, **parts: Any) -> Job:
    model = {"name": "plugin:tiny", "installed": package.model_dump()}
    return make_job(session, model=model, **parts)


def acquired(session: Session, host: str = "alpha") -> int | None:
    assignment = acquire_job(session, host)
    return assignment.job_id if assignment else None


def has(*packages: InstalledPackage) -> Sequence[str]:
    return [str(one) for one in packages]


def test_a_job_goes_to_a_worker_with_its_package(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha")
        make_worker(session, "beta", packages=has(NEW))
        job = make_plugin_job(session)

        assert acquired(session, "alpha") is None
        assert acquired(session, "beta") == job.id


def test_another_version_is_not_the_package(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, packages=has(OLD))
        make_plugin_job(session, NEW)

        assert acquired(session) is None
        # After the worker has been restarted with the other version.
        make_worker(session, packages=has(NEW))
        assert acquired(session) is not None


def test_a_job_without_plugins_passes_those_whose_package_is_missing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        for _ in range(30):
            make_plugin_job(session)
        job = make_job(session)

        assert acquired(session) == job.id


def test_why_it_waits_is_said(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, packages=has(OLD))
        job = make_plugin_job(session, NEW)

        said = obstacles.find_obstacle(session, job)
        assert said == (
            f"no running worker has the package lab-nets 1.1 ({'1' * 32}) (alpha has lab-nets 1.0 ({'0' * 32})): "
            "install it there and restart the worker"
        )
        [obstacle] = obstacles.describe_hosts(
            host_views.workers_view(session), host_views.devices_view(session), None, 1, has(NEW)
        )
        assert obstacle.reason == "no_package"


def test_two_workers_that_each_have_one_of_two_packages_have_not_both(sessions: Sessions) -> None:
    other = NEW.model_copy(update={"package": "lab-scores"})
    with sessions.begin() as session:
        make_worker(session, "alpha", packages=has(NEW))
        make_worker(session, "beta", packages=has(other))
        [obstacle] = obstacles.describe_hosts(
            host_views.workers_view(session),
            host_views.devices_view(session),
            None,
            1,
            has(NEW, other),
        )
        assert "no running worker has the package lab-nets 1.1" in obstacle.sentence


def test_nobody_gives_way_to_a_job_that_his_worker_cannot_train(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        running = make_job(session, resources={"priority": "low"})
        assert acquired(session) == running.id
        make_plugin_job(session, resources={"priority": "high"})
        assert preemption.preempt(session, 0.0) == []

        make_job(session, resources={"priority": "high"})
        assert preemption.preempt(session, 0.0) == [running.id]
