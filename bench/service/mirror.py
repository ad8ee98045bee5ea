"""Whether MLflow keeps up with one-epoch jobs, which end as fast as jobs can."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness.figures import Figure, Section, at_most
from bench.harness.process_tree import adopt_orphans
from bench.harness.progress import say
from bench.harness.stack import Service, make_stack, to_timestamp, wait_for_mlflow
from bench.harness.turns import Failure, catch_failure, describe_failures, successes
from bench.service.start import ONE_EPOCH

JOBS = 634
WORKERS = 2
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Mirrored:
    """`seconds`: from the first job's start to the last one's end; `late_seconds`: from then until MLflow had all."""

    jobs: int
    seconds: float
    late_seconds: float


def measure_mirror(folder: Path, *, rounds: int, jobs: int = JOBS) -> Section:
    adopt_orphans()
    settings = {"NORMLAB_CPU_SLOTS": str(WORKERS), "NORMLAB_CPU_THREADS": "1"}
    results: list[Mirrored | Failure] = []
    with make_stack(folder / "home", **settings).running() as service:
        _mirror(service, "warm-up", 10)
        for number in range(rounds):
            say(f"mirror, round {number + 1} of {rounds}")
            results.append(catch_failure(partial(_mirror, service, f"round-{number + 1}", jobs)))
            # What MLflow still lacks would be in its way in the next round.
            if isinstance(results[-1], Failure):
                break
    return summarize(results, jobs)


def summarize(results: Sequence[Mirrored | Failure], jobs: int) -> Section:
    note = describe_failures(results)
    figures = [Figure("last job's end to all in MLflow", None, "s", at_most(10), note)]
    if done := successes(results):
        late = median(one.late_seconds for one in done)
        ended = median(60 * one.jobs / one.seconds for one in done)
        # Of MLflow's side: all runs, from the first job's start until they were complete.
        mirrored = median(60 * one.jobs / (one.seconds + one.late_seconds) for one in done)
        figures = [
            Figure("jobs ended", ended, "/min"),
            Figure("runs complete in MLflow", mirrored, "/min"),
            Figure("last job's end to all in MLflow", late, "s", at_most(10), note),
        ]
    rows = {"rounds": [asdict(one) for one in results]}
    return Section(f"{jobs} one-epoch jobs in MLflow", figures, rows)


def _mirror(service: Service, project: str, count: int) -> Mirrored:
    """A project of its own: what MLflow holds of others is not read."""
    study = service.post("studies?fresh=true", _study_document(project, count))["id"]
    status = service.wait(f"studies/{study}", _LOOK_SECONDS)["status"]
    jobs = service.jobs_of(study)
    if status != "succeeded" or len(jobs) != count:
        raise RuntimeError(f"the study of {count} jobs has {len(jobs)} and ended as {status}")
    began = min(to_timestamp(job["started_at"]) for job in jobs)
    ended = max(to_timestamp(job["finished_at"]) for job in jobs)
    return Mirrored(count, ended - began, wait_for_mlflow(service, project, jobs) - ended)


def _study_document(project: str, jobs: int) -> dict[str, Any]:
    """Two arms of half the jobs each."""
    norms = ("none", "batch")
    return {
        "version": 1,
        "project": project,
        "name": f"{jobs} one-epoch jobs",
        "base": {key: ONE_EPOCH[key] for key in ("dataset", "model", "training")},
        "variants": {norm: {"norm": {"kind": norm}} for norm in norms},
        "baseline": norms[0],
        "seeds": jobs // len(norms),
    }
