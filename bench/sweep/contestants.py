"""How each contestant runs the sweep once: what is started before the clock, and what the clock covers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from bench.harness.process_tree import MemoryWatch, cpu_seconds
from bench.harness.stack import Service, make_stack, to_timestamp, wait_for_mlflow
from bench.sweep.environments import PEERS, peer_python
from bench.sweep.study import NORMS, PROJECT, SMALL, WORKERS, Size, study_document
from normlab.stack.servers import Postgres, Redis

#: A person who watches; each look costs the service CPU time, which counts.
_LOOK_SECONDS = 2.0
_MLFLOW_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Timing:
    """`wall_seconds`: until the last training's end; `complete_seconds`: from then until MLflow has all."""

    wall_seconds: float
    complete_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_seconds` and `peak_bytes` cover everything until all results are where they should be.
    `curves`: validation losses by job and epoch, where they are known."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    complete_seconds: float | None = None
    curves: Mapping[str, list[float]] = field(default_factory=dict)


#: Inputs, an empty folder and the size, to what the clock covers.
Work: TypeAlias = Callable[[], Timing]


def measure(work: Work) -> Cost:
    before = cpu_seconds()
    with MemoryWatch().watching() as memory:
        timing = work()
    return Cost(
        timing.wall_seconds,
        cpu_seconds() - before,
        memory.peak_bytes,
        timing.complete_seconds,
    )


def run_bare(inputs: Path, run: Path, size: Size) -> Cost:
    cost = measure(lambda: _run_cold([[sys.executable, PEERS / "bare.py", inputs, run]] * WORKERS))
    results = {path.stem: json.loads(path.read_text()) for path in run.glob("*.json")}
    curves = {key: [row["val_loss"] for row in one["epochs"]] for key, one in results.items()}
    return replace(cost, curves=curves)


def run_multiprocessing(inputs: Path, run: Path, size: Size) -> Cost:
    # Installed before the clock.
    command = [peer_python("mlflow"), PEERS / "multiprocessing_mlflow.py", inputs, run]
    return measure(lambda: _run_cold([command]))


def run_ray(inputs: Path, run: Path, size: Size) -> Cost:
    command = [peer_python("ray"), PEERS / "ray_tune.py", inputs, run]
    cost = measure(lambda: _run_cold([command]))
    # Ray's raylet ignores SIGCHLD, so that the kernel adds its workers' time to nobody's: they say it themselves.
    workers = sum(float(path.read_text()) for path in run.glob("*.cpu"))
    return replace(cost, cpu_seconds=cost.cpu_seconds + workers)


def run_celery(inputs: Path, run: Path, size: Size) -> Cost:
    python = peer_python("celery")
    with ExitStack() as stack:
        postgres, redis = Postgres(run / "postgres"), Redis(run / "redis")
        for server in (postgres, redis):
            server.start()
            stack.callback(server.stop)
        postgres.create_databases("sweep")
        environment = _one_thread() | {
            "SWEEP_REDIS": redis.url,
            "SWEEP_DATABASE": postgres.url("sweep").replace("+psycopg", ""),
            "SWEEP_INPUTS": str(inputs),
        }
        options = ["--concurrency", str(WORKERS), "--loglevel", "WARNING", "--without-gossip"]
        worker = [python, "-m", "celery", "-A", "celery_sweep", "worker", *options]
        stack.enter_context(_started(worker, environment, run / "worker.log"))
        script = [python, PEERS / "celery_sweep.py"]
        client = stack.enter_context(_started(script, environment, run / "client.log"))
        _expect(client, "ready", run)
        return measure(lambda: _send(client, run))


def run_normlab(inputs: Path, run: Path, size: Size) -> Cost:
    """Warm: a small study has been run, and MLflow has it with its models."""
    settings = {"NORMLAB_CPU_SLOTS": str(WORKERS), "NORMLAB_CPU_THREADS": "1"}
    with make_stack(run / "home", **settings).running() as service:
        _sweep(service, SMALL, "warm-up")
        # Its exports begin when it has ended, and would take the time of the sweep.
        _wait_for_models(service)
        cost = measure(lambda: _sweep(service, size, "sweep"))
        # The newest study comes first.
        study = service.get("studies", limit=1)["items"][0]["id"]
        jobs = service.jobs_of(study)
        curves = {f"{job['variant']}-{job['seed']}": _curve(service, job["id"]) for job in jobs}
        return replace(cost, curves=curves)


def _sweep(service: Service, size: Size, name: str) -> Timing:
    began = time.time()
    study = service.post("studies?fresh=true", study_document(size, name))["id"]
    status = service.wait(f"studies/{study}", _LOOK_SECONDS)["status"]
    jobs = service.jobs_of(study)
    if status != "succeeded" or len(jobs) != size.jobs:
        raise RuntimeError(f"the study of {size.jobs} jobs has {len(jobs)} and ended as {status}")
    ended = max(to_timestamp(job["finished_at"]) for job in jobs)
    return Timing(ended - began, wait_for_mlflow(service, PROJECT, jobs) - ended)


def _wait_for_models(service: Service) -> None:
    """Of each variant, the best job's."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while sum(run["has_model"] for run in service.finished_runs(PROJECT)) < len(NORMS):
        if time.monotonic() > deadline:
            raise RuntimeError(f"MLflow lacked models {_PATIENCE_SECONDS:.0f} s after the last job")
        time.sleep(_MLFLOW_LOOK_SECONDS)


def _curve(service: Service, job: int) -> list[float]:
    return [row["val_loss"] for row in service.get(f"jobs/{job}/epochs", limit=1000)["items"]]


def _run_cold(commands: Sequence[Sequence[str | Path]]) -> Timing:
    began = time.perf_counter()
    processes = [
        subprocess.Popen([str(part) for part in command], env=_one_thread(), stdout=sys.stderr)
        for command in commands
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"{commands[0][1]} ended with {max(codes, key=abs)}")
    return Timing(time.perf_counter() - began)


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONSAFEPATH": ""}


@contextmanager
def _started(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path
) -> "Iterator[subprocess.Popen[str]]":
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=PEERS, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        with suppress(BrokenPipeError):
            process.communicate()


def _expect(process: "subprocess.Popen[str]", word: str, run: Path) -> None:
    assert process.stdout is not None
    if (line := process.stdout.readline().strip()) != word:
        ends = "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in run.glob("*.log"))
        raise RuntimeError(f"{process.args!r} said {line!r} instead of {word!r}\n{ends}")


def _send(client: "subprocess.Popen[str]", run: Path) -> Timing:
    assert client.stdin is not None
    began = time.perf_counter()
    client.stdin.write("go\n")
    client.stdin.flush()
    _expect(client, "done", run)
    return Timing(time.perf_counter() - began)
