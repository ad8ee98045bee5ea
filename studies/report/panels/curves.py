"""Panels made of lines: means over seeds with intervals, learning curves first of all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy

from studies.claims import chance_after_divergence, lower_bounds, measure_arm
from studies.comparison import JobRecord, StudyEvidence
from studies.report.panels.schemas import Line, Lines, Mark, Nothing, PanelData
from studies.spec import CurvesPanel, Panel, StepsToReach
from studies.stats import finite, higher_is_better, mean, t_interval
from trainer.spec import STOPPING_RULES

#: By place on an axis, the values of the seeds there.
Places: TypeAlias = Mapping[float, Sequence[float]]


def build_curves(
    evidence: StudyEvidence, panel: CurvesPanel, jobs: Mapping[str, Sequence[JobRecord]]
) -> PanelData:
    column, is_error = panel.column, panel.as_error
    lines = []
    for name, found in jobs.items():
        # All steps of the arm: a job that ended early has to have a value at each of them, or the mean would jump
        # where it leaves.
        steps = sorted({one["step"] for job in found for one in job.curve})
        read = partial(_carry_forward, column=column, steps=steps, is_error=is_error)
        lines.append(make_line(name, gather_places(found, read)))
    marks, level = _mark_reached(evidence, panel, jobs) if panel.reach else ((), None)
    if panel.stops:
        marks = (*marks, *(mark for line in lines for mark in _mark_stops(line, jobs[line.arm])))
    unit = "points" if column.endswith("_accuracy") else ""
    name = column.replace("_accuracy", "_error") if is_error else column
    return build_lines(panel, lines, name.replace("_", " "), "step", unit, marks=marks, level=level)


def _carry_forward(
    job: JobRecord, column: str, steps: Sequence[int], is_error: bool
) -> dict[float, float]:
    """A curve at all of its arm's steps, so that no mean is of the survivors: a job that stopped early keeps
    its last value, a diverged one scores what guessing does."""
    seen = {one["step"]: finite(one[column]) for one in job.curve}
    last_step = max((step for step, value in seen.items() if value is not None), default=-1)
    after = chance_after_divergence(job, column)
    held, curve = None, {}
    for step in steps:
        if seen.get(step) is not None:
            held = seen[step]
        elif after is not None and step > last_step:
            held = after
        if held is not None:
            curve[float(step)] = 1 - held if is_error else held
    return curve


def _mark_reached(
    evidence: StudyEvidence, panel: CurvesPanel, jobs: Mapping[str, Sequence[JobRecord]]
) -> tuple[tuple[Mark, ...], float | None]:
    """The mean best of the arm to be reached, and where each arm reaches its own seed's on average; no mark
    of an arm with a job that never does."""
    best_of = max if higher_is_better(panel.column) else min
    best = [
        best_of(values)
        for job in jobs.get(panel.reach or "", ())
        if (values := [y for one in job.curve if (y := finite(one[panel.column])) is not None])
    ]
    if (level := mean(best)) is None:
        return (), None
    level = 1 - level if panel.as_error else level
    statistic = StepsToReach(kind="steps_to_reach", column=panel.column, best_of=panel.reach)
    marks = []
    for name in jobs:
        steps = measure_arm(evidence, statistic, name)
        x = mean(list(steps.values()))
        if x is not None and not lower_bounds(evidence, statistic, name, steps):
            marks.append(Mark(arm=name, x=x, y=level))
    return tuple(marks), level


def _mark_stops(line: Line, jobs: Sequence[JobRecord]) -> Iterator[Mark]:
    """On the arm's line, at the mean over the jobs that the rule would have stopped."""
    for rule in STOPPING_RULES:
        steps = [
            epoch * job.curve[0]["step"]
            for job in jobs
            if job.curve and (epoch := finite(job.row.metrics.get(f"stop_epoch_{rule}")))
        ]
        if (x := mean(steps)) is not None and line.x:
            yield Mark(arm=line.arm, x=x, y=float(numpy.interp(x, line.x, line.mean)), rule=rule)


def make_line(name: str, places: Places, label: str | None = None) -> Line:
    """Means with intervals, from left to right; places without a value are left out."""
    # Places without a value are left out rather than drawn as gaps: matplotlib would break the line there.
    known = [(x, values) for x, values in sorted(places.items()) if values]
    intervals = [t_interval(values) for _, values in known]
    return Line(
        arm=name,
        label=label or name,
        x=tuple(x for x, _ in known),
        mean=tuple(mean(values) or 0.0 for _, values in known),
        low=tuple(one[0] if one else None for one in intervals),
        high=tuple(one[1] if one else None for one in intervals),
    )


def gather_places(
    jobs: Sequence[JobRecord], read: Callable[[JobRecord], Mapping[float, Any]]
) -> Places:
    found: dict[float, list[float]] = {}
    for job in jobs:
        for x, value in read(job).items():
            if (number := finite(value)) is not None:
                found.setdefault(x, []).append(number)
    return found


def build_lines(
    panel: Panel, lines: Sequence[Line], y_label: str, x_label: str, unit: str, **more: Any
) -> PanelData:
    shown = tuple(one for one in lines if one.x)
    if not shown:
        return Nothing(title=panel.title, why="no job has these numbers yet")
    return Lines(
        title=panel.title, x_label=x_label, y_label=y_label, unit=unit, lines=shown, **more
    )
