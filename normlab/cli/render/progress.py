"""Jobs in progress: a grid of variants × seeds in a terminal, a line per change elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from normlab.cli.render.eta import arm_of, done, fraction, outlook
from normlab.cli.render.output import console, duration, say
from normlab.cli.render.output import status as status_words
from normlab.cli.render.units import scaled, test_metric
from normlab.client import FINAL

Jobs: TypeAlias = list[dict[str, Any]]

_MOST_SEEDS = 16
_MOST_RUNNING = 8
#: With fewer, what mattered in a search may have done so by chance.
_ENOUGH_TRIALS = 20
#: A search has a row for each setting of each arm: of so many, those that have ended are left out.
_MOST_ROWS = 24
#: Longer than for other waits: trainings take long, and so is the line.
_QUIET_SECONDS = 30.0
_STYLES = {"succeeded": "green", "failed": "bold red", "cancelled": "yellow", "paused": "yellow"}
_FINAL_MARKS = {"succeeded": "✓", "failed": "✗", "cancelled": "–", "paused": "‖", "queued": "·"}


def draw(snapshots: Iterator[Jobs]) -> Jobs:
    """Redrawn in place; what stays on the screen is the last state."""
    began = time.monotonic()
    jobs: Jobs = []
    with Live(console=console(), refresh_per_second=8, transient=False) as live:
        for jobs in snapshots:
            live.update(picture(jobs, time.monotonic() - began))
    return jobs


def tell(snapshots: Iterator[Jobs]) -> Jobs:
    """One line per change of a job's status; at the end of each, the estimate for the rest.

    Without changes, a line every 30 seconds shows progress and elapsed time.
    """
    seen: dict[int, tuple[Any, ...]] = {}
    jobs: Jobs = []
    began = spoke = time.monotonic()
    for jobs in snapshots:
        ended = sum(job["status"] in FINAL for job in jobs)
        # What has ended first: it made room for what has begun.
        for job in sorted(jobs, key=lambda job: job["status"] not in FINAL):
            news = (job["status"], job.get("requested_action"), job["attempt"])
            waits_still = job["status"] == "queued" and not job["attempt"]
            if seen.get(job["id"]) != news and not waits_still:
                spoke = time.monotonic()
                said = f"[{ended}/{len(jobs)}] {line(job)}"
                later = outlook(jobs) if job["status"] in FINAL and len(jobs) > 1 else ""
                say(f"{said} · {later}" if later else said)
            seen[job["id"]] = news
        now = time.monotonic()
        if now - spoke >= _QUIET_SECONDS and ended < len(jobs):
            spoke = now
            say(f"[{ended}/{len(jobs)}] after {duration(now - began)}: {_still(jobs)}")
    return jobs


def _still(jobs: Jobs) -> str:
    """`2 running, 30 queued; j12 none | seed 0: step 300 of 400`."""
    steps = [
        f"j{job['id']} {job['name']}: step {job['step']} of {job['total_steps']}"
        for job in jobs
        if job["status"] == "running" and job["total_steps"]
    ]
    return "; ".join([summary(jobs), *steps[:_MOST_RUNNING]])


def line(job: dict[str, Any]) -> str:
    """`j12 none | seed 0: succeeded (early_stopped), 9 epochs, test accuracy 97.22 %`."""
    parts = [status_words(job)]
    metrics = job["metrics"]
    if job["status"] == "running" and job["attempt"] > 1:
        parts.append(f"attempt {job['attempt']}")
    if job["status"] == "succeeded" and metrics.get("epochs"):
        parts.append(f"{metrics['epochs']:.0f} epoch{'' if metrics['epochs'] == 1 else 's'}")
    metric = test_metric(job)
    if metrics.get(metric) is not None:
        unit = " %" if metric == "test_accuracy" else ""
        parts.append(f"{metric.replace('_', ' ')} {scaled(metrics[metric], metric)}{unit}")
    return f"j{job['id']} {job['name']}: {', '.join(parts)}"


def summary(jobs: Jobs) -> str:
    """`3 running, 29 queued`."""
    counts = Counter(job["status"] for job in jobs)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def picture(jobs: Jobs, seconds: float) -> RenderableType:
    """The grid, the jobs that run now, and how far all of it is."""
    share = done(jobs)
    foot = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=1.0, completed=share, width=40)
    foot.add_row(bar, f"{share:.0%}", summary(jobs), duration(seconds))
    parts: list[RenderableType] = [_grid(jobs), Text("")] if len(jobs) > 1 else []
    running = [job for job in jobs if job["status"] == "running"]
    if running:
        parts.append(_running(running))
    later = outlook(jobs) if len(jobs) > 1 else ""
    return Group(*parts, foot, *([Text(later, style="dim")] if later else []))


def _grid(jobs: Jobs) -> Table:
    """A row for each variant (at each matrix point), a cell for each seed."""
    arms: dict[str, dict[int, dict[str, Any]]] = {}
    for job in jobs:
        arms.setdefault(arm_of(job), {})[job["seed"]] = job
    seeds = sorted({job["seed"] for job in jobs})
    shown = seeds[:_MOST_SEEDS]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for seed in shown:
        table.add_column(f"seed {seed}", justify="right", no_wrap=True)
    if len(seeds) > len(shown):
        table.add_column(f"+{len(seeds) - len(shown)}", justify="right")
    ended = [arm for arm, cells in arms.items() if all(map(_has_ended, cells.values()))]
    left_out = set(ended[: max(0, len(arms) - _MOST_ROWS)])
    if left_out:
        table.add_row(Text(f"{len(left_out)} that have ended", style="dim"))
    for arm, cells in arms.items():
        if arm in left_out:
            continue
        texts = [_cell(cells.get(seed)) for seed in shown]
        if len(seeds) > len(shown):
            rest: Sequence[Any] = [cells[seed] for seed in seeds[_MOST_SEEDS:] if seed in cells]
            texts.append(Text(f"{sum(map(fraction, rest)) / max(len(rest), 1):.0%}"))
        table.add_row(Text(arm), *texts)
    return table


def _has_ended(job: dict[str, Any]) -> bool:
    return job["status"] in FINAL


def _cell(job: dict[str, Any] | None) -> Text:
    if job is None:
        return Text("")
    if job["status"] == "running":
        return Text(f"{fraction(job):.0%}", style="cyan")
    mark = "∞" if job["reason"] == "diverged" else _FINAL_MARKS[job["status"]]
    metric = test_metric(job)
    value = job["metrics"].get(metric)
    text = f"{mark} {scaled(value, metric)}" if value is not None else mark
    return Text(text, style=_STYLES.get(job["status"], "dim"))


def _running(jobs: Jobs) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in jobs[:_MOST_RUNNING]:
        bar = ProgressBar(total=1.0, completed=fraction(job), width=24)
        steps = f"step {job['step']} of {job['total_steps'] or '?'}"
        table.add_row(Text(f"j{job['id']}", style="cyan"), Text(job["name"]), bar, steps)
    if len(jobs) > _MOST_RUNNING:
        table.add_row("", f"and {len(jobs) - _MOST_RUNNING} more", "", "")
    return table


def describe_trials(search: Mapping[str, Any]) -> str:
    """How far the trials of a study's search are."""
    words = [f"{search['succeeded']} of {search['trials']} trials have succeeded"]
    if failed := search.get("failed"):
        words.append(f"{failed} {'has' if failed == 1 else 'have'} failed")
    if refused := search.get("refused"):
        settings = "setting" if refused == 1 else "settings"
        words.append(
            f"{refused} {settings} that can't be trained {'was' if refused == 1 else 'were'} skipped"
        )
    return ", ".join(words)


def describe_pretraining(pretraining: Mapping[str, Any]) -> str:
    """How far the pretrainings of a study are, and what follows."""
    jobs, failed = pretraining["jobs"], pretraining["failed"]
    lost = f", {failed} {'has' if failed == 1 else 'have'} failed" if failed else ""
    then = (
        "" if pretraining["succeeded"] == jobs else "; the arms of a seed follow when its own has"
    )
    noun = "pretraining has" if jobs == 1 else "pretrainings have"
    return f"{pretraining['succeeded']} of {jobs} {noun} succeeded{lost}{then}"


def importance_lines(arms: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What mattered in each arm of a search that has chosen, most first."""
    for arm in arms:
        if shares := arm.get("importance"):
            paths = sorted(shares, key=lambda path: (-shares[path], path))
            words = ", ".join(f"{path} {shares[path]:.0%}" for path in paths)
            few = " (few trials: may be chance)" if len(arm["tried"]) < _ENOUGH_TRIALS else ""
            yield f"importance in {arm['arm']}: {words}{few}"
