"""A worker's parent and children at work: jobs run, are asked to stop, and are handed back at a drain."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from store.db.models import Job, LogLine, Worker
from store.jobs import commands, leases
from tests.support.cluster import LONG_EPOCHS, Cluster, long_training, make_spec
from tests.support.collector import ENDPOINT, Received, received
from tests.support.receiver import receiving
from tests.support.waiting import PATIENCE_SECONDS


def test_jobs_run_to_success_one_after_the_other(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    ids = cluster.submit(make_spec(), make_spec(seed=1), make_spec(seed=2))
    for job_id in ids:
        job = cluster.wait_for_success(job_id)
        assert job.reason == "completed"
        assert 0 < job.metrics["test_accuracy"] <= 1
        assert [epoch.epoch for epoch in cluster.epochs(job_id)] == [1, 2, 3]
        assert [attempt.end for attempt in cluster.attempts(job_id)] == ["completed"]


def test_a_job_tells_its_epochs_in_its_log(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    (job_id,) = cluster.submit(make_spec())
    cluster.wait_for_success(job_id)
    with cluster.sessions.begin() as session:
        lines = session.query(LogLine).filter_by(job_id=job_id).order_by(LogLine.id).all()
    texts = [line.text for line in lines]
    assert texts[0].startswith("training from the start of ")
    assert any(text.startswith("epoch 2/3 · val_accuracy ") for text in texts)
    assert texts[-1].startswith("completed · ")


def test_a_running_job_is_cancelled_within_seconds(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    (job_id,) = cluster.submit(make_spec(training=long_training(500)))
    cluster.wait_for_epochs(job_id)
    asked_at = time.monotonic()
    cluster.request_action(job_id, "cancel")
    job = cluster.wait(job_id)
    assert time.monotonic() - asked_at < 30
    assert (job.status, job.reason) == ("cancelled", "cancelled")
    assert [attempt.end for attempt in cluster.attempts(job_id)] == ["cancelled"]


def test_a_paused_job_goes_on_where_it_stopped(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    (job_id,) = cluster.submit(make_spec(training=long_training()))
    cluster.wait_for_epochs(job_id)
    cluster.request_action(job_id, "pause")
    paused = cluster.wait(job_id, "paused")
    assert paused.step == cluster.checkpoints(job_id)[-1].step
    with cluster.sessions.begin() as session:
        commands.resume(session, session.get_one(Job, job_id), "ada")
    cluster.wake()
    cluster.wait_for_success(job_id)
    first, second = cluster.attempts(job_id)
    assert (first.end, second.end) == ("paused", "completed")
    assert second.first_step == paused.step > 0
    assert [epoch.epoch for epoch in cluster.epochs(job_id)] == list(range(1, LONG_EPOCHS + 1))


def test_a_job_gives_way_to_one_of_a_higher_class_and_goes_on_after_it(
    cluster_with_worker: Cluster,
) -> None:
    cluster = cluster_with_worker
    low, high = (
        make_spec(
            training=long_training(epochs),
            resources={"device": "cpu", "timeout": 3600, "priority": priority},
        )
        for priority, epochs in (("low", LONG_EPOCHS), ("high", 1))
    )
    sweep = cluster.start("worker.sweep", NORMLAB_PREEMPT_AFTER_SECONDS="0.1")
    (running,) = cluster.submit(low)
    cluster.wait_for_epochs(running)
    (waiting,) = cluster.submit(high)
    cluster.wait_for_success(waiting)
    cluster.wait_for_success(running)
    sweep.end()
    first, second = cluster.attempts(running)
    assert (first.end, first.counts, second.end) == ("preempted", False, "completed")
    assert second.first_step is not None
    assert second.first_step > 0
    assert [row.epoch for row in cluster.epochs(running)] == list(range(1, LONG_EPOCHS + 1))


def test_a_job_that_used_up_its_time_keeps_a_checkpoint(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    resources = {"device": "cpu", "timeout": 2.0}
    (job_id,) = cluster.submit(make_spec(training=long_training(10_000), resources=resources))
    job = cluster.wait(job_id)
    assert (job.status, job.reason) == ("failed", "timeout")
    assert 1.0 < job.seconds_used < 30.0
    assert cluster.checkpoints(job_id)[-1].step == job.step > 0


def test_a_job_whose_loss_is_not_finite_succeeds_as_diverged(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    optimizer = {"kind": "sgd", "lr": 1e6, "momentum": 0.9}
    (job_id,) = cluster.submit(make_spec(optimizer=optimizer, norm={"kind": "none"}))
    job = cluster.wait_for_success(job_id)
    assert job.reason == "diverged"
    assert cluster.epochs(job_id)[-1].non_finite


def test_a_child_that_ran_out_of_memory_is_replaced(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    # The first layer alone would take 256 GB.
    model = {"name": "mlp", "hidden": [1_000_000_000]}
    resources = {"device": "cpu", "max_attempts": 2}
    too_large, fitting = cluster.submit(make_spec(model=model, resources=resources), make_spec())
    job = cluster.wait(too_large)
    assert (job.status, job.reason) == ("failed", "oom")
    assert "can't allocate memory" in (job.error or "")
    cluster.wait_for_success(fitting)
    first, second = cluster.attempts(too_large)
    assert len({first.process, second.process, cluster.attempts(fitting)[0].process}) == 3


def test_a_worker_without_jobs_leaves_at_once_and_says_so(cluster_with_worker: Cluster) -> None:
    cluster = cluster_with_worker
    worker = cluster.ensure_worker()
    cluster.until(lambda: len(worker.children()) == 1, "a child")
    assert worker.terminate() == 0
    with cluster.sessions.begin() as session:
        assert session.get_one(Worker, "here").draining


def test_a_worker_with_a_storage_of_its_own_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start()
    cluster.until(cluster.storage.joinpath("storage-id").exists, "the storage's marker")
    alone = cluster.start(NORMLAB_HOST_NAME="there", NORMLAB_STORAGE=str(tmp_path / "storage"))
    assert alone.process.wait(PATIENCE_SECONDS) == 1
    assert f"{tmp_path / 'storage'} on " in cluster.logs()
    with cluster.sessions.begin() as session:
        assert session.get(Worker, "there") is None


def test_a_worker_that_lost_its_name_in_an_outage_saves_its_jobs_and_leaves_the_rest(
    cluster: Cluster,
) -> None:
    worker = cluster.start(NORMLAB_LEASE_SECONDS="600")
    # Saved all the time, a job of a busy machine would have much to record before it could be put down.
    training = {**long_training(2000), "checkpoint_seconds": 1.0}
    (job_id,) = cluster.submit(make_spec(training=training))
    cluster.wait_for_epochs(job_id)
    # Another machine registered while this one could not reach the database.
    with cluster.sessions.begin() as session:
        clone = leases.Instance("clone", 7, "clone", "elsewhere")
        leases.register_worker(session, "here", 7, [("cpu", 0, "cpu", 1)], clone)
    assert worker.process.wait(PATIENCE_SECONDS) == 1
    assert "another worker has taken this host's name" in cluster.logs()
    assert cluster.job(job_id).status == "queued"
    (attempt,) = cluster.attempts(job_id)
    assert (attempt.end, attempt.counts) == ("drained", False)
    with cluster.sessions.begin() as session:
        row = session.get_one(Worker, "here")
        assert (row.instance, row.draining, row.ended_at) == ("clone", False, None)
        # The name's next worker need not wait for this one.
        leases.worker_ended(session, "here", "clone")


def test_a_worker_whose_exit_was_lost_before_celery_ran_ends(cluster: Cluster) -> None:
    program = cluster.start("tests.support.lost_signal_worker")
    assert program.process.wait(120) == 0
    said = program.log.read_text()
    assert "Exception ignored in" in said
    assert "registered" in said


def test_a_loss_that_an_outage_of_the_database_caused_does_not_count(cluster: Cluster) -> None:
    lease_seconds = 6.0
    worker = cluster.start(NORMLAB_LEASE_SECONDS=str(lease_seconds))
    cluster.start("worker.sweep", NORMLAB_LEASE_SECONDS=str(lease_seconds))
    resources = {"device": "cpu", "timeout": 3600, "max_attempts": 1}
    (job_id,) = cluster.submit(make_spec(training=long_training(), resources=resources))
    cluster.wait_for_epochs(job_id)
    cluster.engine.dispose()
    cluster.postgres.stop()
    try:
        worker.kill()
        time.sleep(lease_seconds)
    finally:
        cluster.postgres.start()
    cluster.mark_host_dead("here")
    cluster.start(NORMLAB_HOST_NAME="there")
    cluster.wait_for_success(job_id)
    first, second = cluster.attempts(job_id)
    assert (first.end, first.counts, second.end) == ("lost", False, "completed")


def test_a_killed_attempt_is_an_error_of_its_trace_in_which_the_next_one_follows(
    cluster: Cluster,
) -> None:
    trace, request = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with receiving() as collector:
        worker = cluster.start(**{ENDPOINT: collector.url})
        training = make_spec(training=long_training())
        (job_id,) = cluster.submit(training, trace_context=f"00-{trace}-{request}-01")
        cluster.wait_for_epochs(job_id, 2)
        os.kill(cluster.attempts(job_id)[0].process, signal.SIGKILL)
        cluster.wait_for_success(job_id)
        # A process that ends waits for a collector for two seconds, which a busy machine takes to connect.
        cluster.until(lambda: count_attempts(received(collector, trace)) == 2, "the trace")
        assert worker.terminate() == 0
        spans = received(collector, trace)
    lost, done = sorted(
        (span for span in spans if span.name == "attempt"),
        key=lambda span: span.attributes["normlab.attempt"],
    )
    assert (lost.parent, done.parent) == (request, request)
    assert (lost.attributes["normlab.end"], lost.is_error) == ("lost", True)
    assert (done.attributes["normlab.end"], done.is_error) == ("completed", False)
    (train,) = (span for span in spans if span.name == "train")
    assert train.parent == done.id
    assert train.attributes["normlab.first_step"] == cluster.attempts(job_id)[1].first_step
    assert {span.attributes["normlab.host"] for span in (lost, done)} == {"here"}


def count_attempts(spans: Sequence[Received]) -> int:
    return sum(span.name == "attempt" for span in spans)
