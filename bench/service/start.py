"""What a stack costs without load: its start, its memory and CPU while idle, and one job alone."""

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.harness.figures import Figure, Section, at_most
from bench.harness.process_tree import adopt_orphans, cpu_seconds, pss_bytes
from bench.harness.progress import say
from bench.harness.stack import Service, Stack, make_stack, to_timestamp
from bench.harness.turns import take_turns

#: Until a start's own work has ended, before the memory of an idle stack is read.
SETTLE_SECONDS = 20.0
IDLE_SECONDS = 30.0
#: Rounds in which the stack rests: each takes its time, whatever the machine.
MOST_RESTS = 3
JOBS = 5
_GIGABYTE = 10**9

IMPORT, HELP, NOTHING = "import api.app", "normlab --help", "python -c pass"
_COMMANDS: Mapping[str, Sequence[str]] = {
    NOTHING: ("-c", "pass"),
    IMPORT: ("-c", "import api.app"),
    HELP: ("-m", "normlab", "--help"),
}

ONE_EPOCH = {
    "version": 1,
    "project": "bench",
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [32]},
    "norm": {"kind": "batch"},
    "training": {"epochs": 1},
}


@dataclass(frozen=True, slots=True)
class Start:
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Idle:
    pss_bytes: int
    #: Of one core, 0 to 1.
    cpu_share: float


def measure_imports(*, rounds: int) -> Section:
    """Each in a process of its own, in turns; the files are in the page cache."""

    def seconds(name: str) -> tuple[float, float]:
        before, began = _children_cpu(), time.perf_counter()
        command = [sys.executable, *_COMMANDS[name]]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began, _children_cpu() - before

    for name in _COMMANDS:
        seconds(name)
    turns = take_turns({name: lambda name=name: seconds(name) for name in _COMMANDS}, rounds)  # type: ignore[misc]
    goals = {IMPORT: at_most(1.2), HELP: at_most(0.3)}
    figures = [
        figure
        for name, pairs in turns.items()
        for figure in (
            Figure(f"{name}: wall", median(wall for wall, _ in pairs), "s", goals.get(name)),
            Figure(f"{name}: CPU", median(cpu for _, cpu in pairs), "s"),
        )
    ]
    return Section("Imports", figures, turns)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_start(folder: Path, *, rounds: int) -> Section:
    """A round is a start in an empty home, a stop, a start in the same home, and what follows it."""
    adopt_orphans()
    cold, warm, idle, alone = [], [], [], []
    for number in range(rounds):
        say(f"start, round {number + 1} of {rounds}")
        stack = make_stack(folder / f"home-{number}", NORMLAB_CPU_SLOTS="2")
        cold.append(_start(stack))
        stack.down()
        warm.append(_start(stack))
        try:
            with stack.connect() as service:
                if number < MOST_RESTS:
                    idle.append(_rest())
                alone.append(_run_alone(service))
                if number == rounds - 1:
                    idle_after = _rest()
        finally:
            stack.down()
    rows = {
        "cold": [asdict(row) for row in cold],
        "warm": [asdict(row) for row in warm],
        "idle": [asdict(row) for row in idle],
        "idle after the last round's jobs": asdict(idle_after),
        "one-epoch job alone, seconds": alone,
    }
    jobs = [seconds for times in alone for seconds in times]
    figures = [
        Figure("up in an empty home: wall", median(row.seconds for row in cold), "s"),
        Figure("up in an empty home: CPU", median(row.cpu_seconds for row in cold), "s"),
        Figure("up again: wall", median(row.seconds for row in warm), "s", at_most(12)),
        Figure("up again: CPU", median(row.cpu_seconds for row in warm), "s", at_most(25)),
        *_idle_figures("idle", idle),
        *_idle_figures("idle after jobs", [idle_after]),
        Figure("one-epoch job alone, POST to end", median(jobs), "s", at_most(0.4)),
    ]
    return Section("Start, and a stack at rest", figures, rows)


def _start(stack: Stack) -> Start:
    before, began = cpu_seconds(), time.perf_counter()
    stack.up()
    return Start(time.perf_counter() - began, cpu_seconds() - before)


def _rest() -> Idle:
    """Of the whole stack, after it has settled."""
    time.sleep(SETTLE_SECONDS)
    before, began = cpu_seconds(), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    share = (cpu_seconds() - before) / (time.perf_counter() - began)
    return Idle(pss_bytes(), share)


def _idle_figures(name: str, rows: Sequence[Idle]) -> list[Figure]:
    memory = median(row.pss_bytes for row in rows) / _GIGABYTE
    share = 100 * median(row.cpu_share for row in rows)
    return [
        Figure(f"{name}: PSS", memory, "GB", at_most(1.2)),
        Figure(f"{name}: CPU", share, "% of a core", at_most(1)),
    ]


def _run_alone(service: Service) -> list[float]:
    """Seconds from POST to the end in SQL; the first job is not counted, since it decodes the dataset."""
    seconds = []
    for seed in range(JOBS + 1):
        began = time.time()
        job = service.post("jobs", {**ONE_EPOCH, "seed": seed})["id"]
        row = service.wait(f"jobs/{job}", 0.1)
        if row["status"] != "succeeded":
            raise RuntimeError(f"job {job} ended as {row['status']}: {row['error']}")
        seconds.append(to_timestamp(row["finished_at"]) - began)
        # Until the mirror has copied it: the next one should find a stack at rest.
        time.sleep(2.0)
    return seconds[1:]
