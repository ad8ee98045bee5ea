"""Acquiring jobs: who gets what, and never twice."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import HALF_LIFE_SECONDS, Attempt, Job, Lease, Study, Transition, User
from store.hosts import host_views
from store.hosts.room import PATIENCE_SECONDS
from store.jobs import commands, leases, usage
from store.jobs.acquire import MOST_PASSED_OVER, Assignment
from store.jobs.order import AGING_SECONDS
from tests.support.factories import (
    acquire_job,
    choose_numerics,
    make_cells,
    make_dataset,
    make_job,
    make_study,
    make_user,
    make_worker,
    set_job,
)
from tests.support.statements import counting_statements
from trainer.spec.job import ASKED_FOR, Numerics

Sessions = sessionmaker[Session]


def test_acquiring_starts_an_attempt_on_a_slot(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session, make_user(session, "ada"), resources={"timeout": 60})

    with sessions.begin() as session:
        assignment = acquire_job(session)

    assert assignment is not None
    assert (assignment.job_id, assignment.attempt, assignment.kind, assignment.owner) == (
        job.id,
        1,
        "training",
        "ada",
    )
    assert [(device.kind, device.number, device.slot) for device in assignment.devices] == [
        ("cpu", 0, 0)
    ]
    assert assignment.spec["dataset"]["name"] == assignment.dataset_name == "digits"
    assert assignment.info is not None
    assert assignment.info["shape"] == [1, 8, 8]
    assert (assignment.timeout_seconds, assignment.seconds_used, assignment.checkpoints) == (
        60,
        0,
        (),
    )
    with sessions.begin() as session:
        found = commands.find(session, job.id)
        assert found is not None
        assert (found.status, found.attempt) == ("running", 1)
        assert found.started_at is not None
        attempt = session.get_one(Attempt, (job.id, 1))
        assert (attempt.host, attempt.process, attempt.end) == ("alpha", 101, None)
        assert session.scalars(select(Lease.job_id)).all() == [job.id]
        changes = session.scalars(select(Transition).order_by(Transition.id)).all()
        assert [(change.from_status, change.to_status, change.who) for change in changes] == [
            (None, "queued", "ada"),
            ("queued", "running", "worker alpha"),
        ]


def test_nothing_is_acquired_without_a_job_a_slot_or_a_host(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        assert acquire_job(session) is None
        make_job(session)
        make_job(session)
        assert acquire_job(session, "unknown") is None
        assert acquire_job(session) is not None
        assert acquire_job(session) is None


def test_a_draining_host_gets_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_job(session)
        leases.set_draining(session, "alpha")

        assert acquire_job(session) is None


def test_a_lease_that_ran_out_holds_its_slot_until_it_is_swept(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        owner = make_user(session)
        first, second = make_job(session, owner), make_job(session, owner)
        acquire_job(session, lease_seconds=-1.0)

        assert acquire_job(session) is None
        assert leases.release_expired(session) == [first.id]
        again = acquire_job(session)

    assert again is not None
    assert (again.job_id, again.attempt) == (first.id, 2)
    assert second.status == "queued"


def test_two_hosts_with_many_threads_acquire_every_job_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=3)
        make_worker(session, "beta", cpu=2)
        for _ in range(12):
            make_job(session)
    assignments: list[Assignment] = []
    start = threading.Barrier(8)

    def work(host: str) -> None:
        start.wait()
        for _ in range(3):
            with sessions.begin() as session:
                assignment = acquire_job(session, host)
            if assignment is not None:
                assignments.append(assignment)

    threads = [threading.Thread(target=work, args=(host,)) for host in ("alpha", "beta") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({assignment.job_id for assignment in assignments}) == len(assignments) == 5
    with sessions.begin() as session:
        held = session.execute(select(Lease.device_id, Lease.slot)).all()
        assert len(set(held)) == 5
        busy = Counter({worker.host: worker.busy for worker in host_views.workers_view(session)})
        assert busy == {"alpha": 3, "beta": 2}


def test_a_slot_that_is_freed_and_wanted_by_many_is_never_held_twice(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        made = {make_job(session).id for _ in range(10)}
    done: list[int] = []
    most: list[int] = []

    def work() -> None:
        while True:
            with sessions.begin() as session:
                assignment = acquire_job(session)
                most.append(len(session.scalars(select(Lease.id)).all()))
            if assignment is None:
                with sessions.begin() as session:
                    if not session.scalars(select(Job.id).where(Job.status == "queued")).all():
                        return
                continue
            with sessions.begin() as session:
                commands.finish(session, assignment.job_id, assignment.attempt, reason="completed")
            done.append(assignment.job_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(done) == Counter(made)
    assert max(most) <= 2


def test_a_job_that_somebody_is_changing_is_passed_over(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        first, second = make_job(session), make_job(session)

    with sessions.begin() as changing:
        commands.request_action(changing, first, "cancel", "ada")
        with sessions.begin() as session:
            assignment = acquire_job(session)

    assert assignment is not None
    assert assignment.job_id == second.id


def test_an_acquisition_does_not_search_through_a_study_that_somebody_is_changing(
    sessions: Sessions, engine: Engine
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        study = make_study(session, cells=make_cells(seeds=range(MOST_PASSED_OVER + 5)))
    jobs = select(Job.id).where(Job.study_id == study.id)
    with sessions.begin() as changing:
        changing.execute(jobs.with_for_update(key_share=True))
        with sessions.begin() as session, counting_statements(engine) as statements:
            assert acquire_job(session) is None
    # The lock, the free slots, and two for each job.
    assert len(statements) == 2 + 2 * MOST_PASSED_OVER


def test_a_higher_priority_goes_first_and_waiting_raises_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=3)
        owner = make_user(session)
        low = make_job(session, owner, resources={"priority": "low"})
        normal = make_job(session, owner)
        high = make_job(session, owner, resources={"priority": "high"})

        assert acquire_id(session) == high.id
        set_job(session, low.id, queued_at=ago(2 * AGING_SECONDS + 1))
        assert acquire_id(session) == low.id
        assert acquire_id(session) == normal.id


def test_waiting_raises_nothing_above_the_highest_class(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        owner = make_user(session, role="admin")
        low = make_job(session, owner, resources={"priority": "low"})
        set_job(session, low.id, queued_at=ago(100 * AGING_SECONDS))
        make_job(session, owner, resources={"priority": "urgent"})

        assert acquire_id(session) == low.id


def test_who_has_used_the_machines_less_goes_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        busy, idle = make_user(session), make_user(session)
        used(session, busy, seconds=100.0, ended=60.0)
        used(session, idle, seconds=10.0, ended=60.0)
        make_job(session, busy)
        later = make_job(session, idle)

        assert acquire_id(session) == later.id


def test_twice_the_weight_is_twice_the_share(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        heavy, light = make_user(session), make_user(session)
        session.execute(update(User).where(User.id == heavy.id).values(weight=2.0))
        used(session, heavy, seconds=150.0, ended=60.0)
        used(session, light, seconds=100.0, ended=60.0)
        make_job(session, light)
        later = make_job(session, heavy)

        assert acquire_id(session) == later.id


def test_old_use_fades(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        once, lately = make_user(session), make_user(session)
        used(session, once, seconds=1000.0, ended=5 * HALF_LIFE_SECONDS)
        used(session, lately, seconds=100.0, ended=0.0)
        make_job(session, lately)
        faded = make_job(session, once)

        assert acquire_id(session) == faded.id


def test_running_jobs_count_so_that_people_take_turns(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=4)
        ada, bob = make_user(session), make_user(session)
        of_ada = [make_job(session, ada).id for _ in range(4)]
        of_bob = [make_job(session, bob).id for _ in range(2)]

        order = [acquire_id(session) for _ in range(4)]

    assert set(order[:2]) == {of_ada[0], of_bob[0]}
    assert set(order[2:]) == {of_ada[1], of_bob[1]}


def test_equal_people_are_served_by_age_and_a_returned_job_stands_first(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        owner = make_user(session)
        first, _ = make_job(session, owner), make_job(session, owner)
        acquire_job(session)
        commands.end_attempt(session, first.id, 1, "drained")

        assert acquire_id(session) == first.id


def test_a_job_goes_only_to_the_device_that_it_asks_for(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=1)
        make_worker(session, "beta", cpu=0, cuda=1)
        on_gpu = make_job(session, resources={"device": "cuda"})
        on_cpu = make_job(session, resources={"device": "cpu"})

        first, second = acquire_job(session, "alpha"), acquire_job(session, "beta")

    assert first is not None
    assert (first.job_id, first.devices[0].kind) == (on_cpu.id, "cpu")
    assert second is not None
    assert (second.job_id, second.devices[0].kind) == (on_gpu.id, "cuda")


def test_a_job_that_may_choose_takes_a_gpu_then_the_cpu(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1, cuda=2)
        for _ in range(3):
            make_job(session)
        assignments = [acquire_job(session) for _ in range(3)]

    taken = [
        (assignment.devices[0].kind, assignment.devices[0].number)
        for assignment in assignments
        if assignment
    ]
    assert taken == [("cuda", 0), ("cuda", 1), ("cpu", 0)]


def test_a_warm_device_is_preferred(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1, cuda=2)
        make_job(session)
        assignment = acquire_job(session, warm=("cuda", 1))

    assert assignment is not None
    assert assignment.devices[0].number == 1


def test_several_devices_are_held_together_or_not_at_all(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "small", cpu=1, cuda=1)
        make_worker(session, "large", cpu=0, cuda=2)
        job = make_job(session)
        set_job(session, job.id, devices=2)

        assert acquire_job(session, "small") is None
        assignment = acquire_job(session, "large")

    assert assignment is not None
    assert [(device.kind, device.number) for device in assignment.devices] == [
        ("cuda", 0),
        ("cuda", 1),
    ]


def test_the_slots_of_a_cpu_are_devices_to_processes_that_train_together(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=3)
        make_job(session)
        acquire_job(session)
        make_job(session, resources={"devices": 2})
        assignment = acquire_job(session)

    assert assignment is not None
    assert [(one.kind, one.number, one.slot) for one in assignment.devices] == [
        ("cpu", 0, 1),
        ("cpu", 0, 2),
    ]


def test_an_exclusive_job_holds_all_slots_of_its_device(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker_with_shared_gpus(session, gpus=2)
        alone = make_job(session, resources={"exclusive": True})
        for _ in range(4):
            make_job(session)
        first = acquire_job(session)
        others = [acquire_job(session) for _ in range(3)]

    assert first is not None
    assert (first.job_id, len(first.devices)) == (alone.id, 1)
    with sessions.begin() as session:
        held = session.scalars(select(Lease.slot).where(Lease.job_id == alone.id)).all()
        attempt = session.get_one(Attempt, (alone.id, 1))
    assert (sorted(held), attempt.slots) == ([0, 1], 2)
    assert [other and other.devices[0].number for other in others] == [1, 1, None]


def test_an_exclusive_job_shares_its_device_with_nobody_who_was_there_before(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker_with_shared_gpus(session, gpus=1)
        make_job(session)
        assert acquire_job(session) is not None
        make_job(session, resources={"exclusive": True})
        assert acquire_job(session) is None


def test_narrow_jobs_pass_a_wide_one_until_it_has_waited_for_long(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=0, cuda=2)
        running = make_job(session)
        acquire_job(session)
        wide = make_job(session, resources={"devices": 2})
        passing, waiting = make_job(session), make_job(session)
        assert started(acquire_job(session)) == passing.id

        commands.finish(session, passing.id, 1, reason="completed")
        set_waiting(session, wide.id, PATIENCE_SECONDS + 1)
        # One of two devices is free, and is kept.
        assert acquire_job(session) is None
        commands.finish(session, running.id, 1, reason="completed")
        assert started(acquire_job(session)) == wide.id
        commands.finish(session, wide.id, 1, reason="completed")
        assert started(acquire_job(session)) == waiting.id


def test_who_comes_before_a_wide_job_in_the_queue_is_not_held_up_by_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=0, cuda=2)
        make_job(session)
        acquire_job(session)
        wide = make_job(session, resources={"devices": 2})
        set_waiting(session, wide.id, PATIENCE_SECONDS + 1)
        first = make_job(session, resources={"priority": "high"})
        assert started(acquire_job(session)) == first.id


def test_only_as_many_devices_are_kept_as_a_job_waits_for(sessions: Sessions) -> None:
    """The idlest: the other device, and the CPU, go on taking jobs."""
    with sessions.begin() as session:
        make_worker_with_shared_gpus(session, gpus=2, cpu=1)
        for _ in range(3):
            make_job(session, resources={"device": "cuda"})
            acquire_job(session)
        alone = make_job(session, resources={"exclusive": True, "device": "cuda"})
        set_waiting(session, alone.id, PATIENCE_SECONDS + 1)
        narrow = [make_job(session), make_job(session)]
        # GPU 1 has one job and one free slot, which is kept.
        first, second = acquire_job(session), acquire_job(session)

    assert started(first) == narrow[0].id
    assert first is not None
    assert first.devices[0].kind == "cpu"
    assert second is None


def test_one_host_keeps_devices_for_a_wide_job_and_the_others_go_on(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for host in ("alpha", "beta"):
            make_worker(session, host, cpu=3 if host == "beta" else 2)
            make_job(session)
            acquire_job(session, host)
        wide = make_job(session, resources={"devices": 3})
        set_waiting(session, wide.id, PATIENCE_SECONDS + 1)
        narrow = make_job(session)
        assert acquire_job(session, "beta") is None
        # It could never hold the wide job.
        assert started(acquire_job(session, "alpha")) == narrow.id

        make_worker(session, "gamma", cpu=4)
        other = make_job(session)
        # Now another host has more for the wide job, and will start it.
        assert started(acquire_job(session, "beta")) == other.id
        assert started(acquire_job(session, "gamma")) == wide.id


def test_many_wide_jobs_do_not_hide_the_narrow_ones_behind_them(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1, cuda=2)
        make_job(session, resources={"device": "cuda"})
        acquire_job(session)
        for _ in range(MOST_PASSED_OVER + 1):
            wide = make_job(session, resources={"devices": 2, "device": "cuda"})
            set_waiting(session, wide.id, PATIENCE_SECONDS + 1)
        narrow = make_job(session)
        assignment = acquire_job(session)

    assert started(assignment) == narrow.id


def make_worker_with_shared_gpus(session: Session, *, gpus: int, cpu: int = 0) -> None:
    """Two slots on each."""
    devices = [("cpu", 0, "a processor", cpu)] if cpu else []
    devices += [("cuda", number, "a GPU", 2) for number in range(gpus)]
    leases.register_worker(session, "alpha", 100, devices)


def started(assignment: Assignment | None) -> int | None:
    return assignment and assignment.job_id


def set_waiting(session: Session, job_id: int, seconds: float) -> None:
    set_job(session, job_id, queued_at=func.now() - timedelta(seconds=seconds))


def test_the_first_start_fixes_the_numerics_of_its_study(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
        make_worker(session, "beta", cpu=1, cuda=1)
        study = make_study(session)

        first = acquire_job(session, "alpha")
        second = acquire_job(session, "beta", numerics=lambda _: pytest.fail("already fixed"))

        fixed = session.get_one(Study, study.id, populate_existing=True).numerics

    assert first is not None
    assert first.numerics == Numerics(device="cpu", threads=3)
    assert second is not None
    assert second.numerics == first.numerics
    assert second.devices[0].kind == "cpu"
    assert fixed == first.numerics.model_dump(mode="json", exclude=set(ASKED_FOR))


def test_each_job_of_a_study_has_the_precision_that_it_asks_for(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
        study = make_study(session)
        first = acquire_job(session, "alpha")
        assert first is not None
        for job in session.scalars(select(Job).where(Job.id != first.job_id)).all():
            training = {**job.spec["training"], "precision": "bf16"}
            set_job(session, job.id, spec={**job.spec, "training": training})

        second = acquire_job(session, "alpha", numerics=lambda _: pytest.fail("already fixed"))

        assert second is not None
        recorded = session.get_one(Job, second.job_id, populate_existing=True).numerics
        shared = session.get_one(Study, study.id, populate_existing=True).numerics

    assert second.numerics == first.numerics.model_copy(update={"precision": "bf16"})
    assert recorded == second.numerics.model_dump(mode="json")
    assert shared is not None
    assert not shared.keys() & ASKED_FOR.keys()


CNN = {"model": {"name": "cnn"}}
RESNET = {"model": {"name": "resnet20"}}


@pytest.mark.parametrize(
    ("variants", "parts", "memory_format"),
    [
        (("none", "batch"), CNN, "channels_last"),
        (("none", "batch"), {"model": {"name": "cnn", "width": 15}}, "contiguous"),
        (("batch", "layer"), CNN, "contiguous"),
        (("none", "instance"), CNN, "contiguous"),
        (("none", "batch"), RESNET, "contiguous"),
        (("none", "batch"), {**CNN, "weights": {"kind": "weight_norm"}}, "contiguous"),
    ],
)
def test_a_study_is_trained_channels_last_where_all_of_its_jobs_may_be(
    sessions: Sessions, variants: tuple[str, ...], parts: dict[str, Any], memory_format: str
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=4)
        study = make_study(session, cells=make_cells(variants, **parts))
        jobs = [acquire_job(session) for _ in range(4)]
        fixed = session.get_one(Study, study.id, populate_existing=True).numerics
    formats = [job.numerics.memory_format for job in jobs if job is not None and job.numerics]
    assert formats == [memory_format] * 4
    assert fixed is not None
    assert fixed["memory_format"] == memory_format


def test_a_job_without_a_study_has_the_memory_format_of_its_own_model_and_norm(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        make_job(session, **CNN, norm={"kind": "batch"})
        make_job(session, **CNN, norm={"kind": "group", "groups": 4})
        jobs = [acquire_job(session) for _ in range(2)]
    formats = [job.numerics.memory_format for job in jobs if job is not None and job.numerics]
    assert formats == ["channels_last", "contiguous"]


def test_a_gpu_trains_contiguous_maps(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=0, cuda=1)
        make_study(session, cells=make_cells(("none", "batch"), **CNN))
        job = acquire_job(session)
    assert job is not None
    assert job.numerics == Numerics(device="cuda", threads=3)


def test_numerics_that_were_decided_before_stay_what_they_are(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=4)
        study = make_study(session, cells=make_cells(("none", "batch"), **CNN))
        # As studies have them whose first job started before the rule was there.
        decided = Numerics(threads=7).model_dump(mode="json")
        session.execute(update(Study).where(Study.id == study.id).values(numerics=decided))
        job = acquire_job(session)
    assert job is not None
    assert job.numerics == Numerics(threads=7)


def test_a_study_fixed_to_one_kind_waits_for_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "beta", cpu=4, cuda=1)
        make_study(session)

        first, second = acquire_job(session, "beta"), acquire_job(session, "beta")

    assert first is not None
    assert first.devices[0].kind == "cuda"
    assert second is None


def test_a_job_without_a_study_keeps_its_own_numerics(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=1)
        make_worker(session, "beta", cpu=0, cuda=1)
        job = make_job(session)
        acquire_job(session, "alpha")
        commands.end_attempt(session, job.id, 1, "drained")

        assert acquire_job(session, "beta") is None
        again = acquire_job(session, "alpha", numerics=lambda _: pytest.fail("already fixed"))

    assert again is not None
    assert again.numerics == choose_numerics("cpu")


def test_a_job_waits_for_its_dataset_whose_own_job_goes_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        dataset = make_dataset(session, "cats", ready=False)
        make_job(session, dataset=dataset)

        assignment = acquire_job(session)
        assert acquire_job(session) is None

    assert assignment is not None
    assert (assignment.kind, assignment.dataset_name, assignment.numerics) == (
        "dataset",
        "cats",
        None,
    )
    assert assignment.source == {
        "kind": "parquet",
        "path": "/data/cats",
        "configuration": None,
        "image": "image",
        "label": "label",
        "size": None,
        "background": "white",
        "unreadable": "refuse",
        "unlabelled": "refuse",
    }


def test_a_dataset_is_decoded_on_the_cpu(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=0, cuda=1)
        make_dataset(session, ready=False)

        assert acquire_job(session) is None


def test_jobs_of_a_study_are_acquired_once_each(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=8)
        make_study(session, cells=make_cells(seeds=(0, 1, 2)))
        assignments = [acquire_job(session) for _ in range(7)]

    assert len({assignment.job_id for assignment in assignments if assignment}) == 6
    assert assignments[-1] is None


def acquire_id(session: Session, host: str = "alpha") -> int | None:
    assignment = acquire_job(session, host)
    return assignment.job_id if assignment else None


def used(session: Session, owner: User, *, seconds: float, ended: float) -> None:
    """The person has used a device for so long, and stopped so many seconds ago."""
    make_worker(session, "past")
    job = make_job(session, owner)
    assert acquire_id(session, "past") == job.id
    commands.finish(session, job.id, 1, reason="completed")
    times = {"started_at": ago(ended + seconds), "ended_at": ago(ended)}
    session.execute(update(Attempt).where(Attempt.job_id == job.id).values(times))
    usage.rebuild(session)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
