"""From a study's jobs to the data of its own figure, panel by panel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, assert_never

import numpy

from store.db import File
from studies.claims import (
    chance_after_divergence,
    chosen_layer,
    lower_bounds,
    measure_arm,
    unit_of_statistic,
    words,
)
from studies.comparison import JobRecord, StudyEvidence
from studies.report.panels.from_arrays import array_panel
from studies.report.panels.schemas import (
    Bar,
    Bars,
    Fan,
    Fans,
    Line,
    Lines,
    Mark,
    Nothing,
    PanelData,
)
from studies.spec import (
    ArraysPanel,
    BarsPanel,
    CurvesPanel,
    FansPanel,
    LayersPanel,
    LooksPanel,
    OverPanel,
    Panel,
    Statistic,
    StepsToReach,
)
from studies.stats import finite, higher_is_better, mean, t_interval
from trainer.spec import NETWORK, STOPPING_RULES

#: By place on an axis, the values of the seeds there.
Places: TypeAlias = Mapping[float, Sequence[float]]

MOST_ARMS = 12


def read_panels(
    evidence: StudyEvidence, files: Mapping[int, Sequence[File]], storage: Path
) -> tuple[PanelData, ...]:
    """`files`: of each job."""
    return tuple(_read(evidence, panel, files, storage) for panel in evidence.study.figure)


def _read(
    evidence: StudyEvidence, panel: Panel, files: Mapping[int, Sequence[File]], storage: Path
) -> PanelData:
    jobs = _select_jobs(evidence, panel)
    match panel:
        case CurvesPanel():
            return _build_curves(evidence, panel, jobs)
        case OverPanel():
            return _build_over(evidence, panel)
        case BarsPanel():
            return _build_bars(evidence, panel, jobs)
        case LooksPanel():
            return _build_snapshots(panel, jobs)
        case LayersPanel():
            return _build_layers(panel, jobs)
        case FansPanel():
            return _build_fans(panel, jobs)
        case ArraysPanel():
            return array_panel(panel, jobs, files, storage)
        case _:
            assert_never(panel)


def _select_jobs(evidence: StudyEvidence, panel: Panel) -> dict[str, list[JobRecord]]:
    """By arm those that succeeded, of the arms that the panel shows."""
    names = panel.arms or tuple(evidence.records)[:MOST_ARMS]
    return {
        name: [
            record
            for seed in evidence.seeds
            if (record := evidence.records[name].get(seed)) is not None
            and record.row.status == "succeeded"
        ]
        for name in names
        if name in evidence.records
    }


def _make_line(name: str, places: Places, label: str | None = None) -> Line:
    """Means with intervals, from left to right; places without a value are left out."""
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


def _gather(jobs: Sequence[JobRecord], read: Callable[[JobRecord], Mapping[float, Any]]) -> Places:
    found: dict[float, list[float]] = {}
    for job in jobs:
        for x, value in read(job).items():
            if (number := finite(value)) is not None:
                found.setdefault(x, []).append(number)
    return found


def _build_curves(
    evidence: StudyEvidence, panel: CurvesPanel, jobs: Mapping[str, Sequence[JobRecord]]
) -> PanelData:
    column, is_error = panel.column, panel.as_error
    lines = []
    for name, found in jobs.items():
        steps = sorted({one["step"] for job in found for one in job.curve})
        read = partial(_carry_forward, column=column, steps=steps, is_error=is_error)
        lines.append(_make_line(name, _gather(found, read)))
    marks, level = _mark_reached(evidence, panel, jobs) if panel.reach else ((), None)
    if panel.stops:
        marks = (*marks, *(mark for line in lines for mark in _mark_stops(line, jobs[line.arm])))
    unit = "points" if column.endswith("_accuracy") else ""
    name = column.replace("_accuracy", "_error") if is_error else column
    return _build_lines(
        panel, lines, name.replace("_", " "), "step", unit, marks=marks, level=level
    )


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


def _build_over(evidence: StudyEvidence, panel: OverPanel) -> PanelData:
    several = len(panel.statistics) > 1
    lines = []
    for statistic in panel.statistics:
        label = words(statistic)
        if panel.along is not None:
            values = {x: measure_arm(evidence, statistic, name) for name, x in panel.along.items()}
            lines.append(_make_line(label, {x: list(one.values()) for x, one in values.items()}))
            continue
        for variant in evidence.study.variants:
            places = _collect_places(evidence, panel.path or "", variant, statistic)
            lines.append(_make_line(variant, places, f"{variant}, {label}" if several else variant))
    first = panel.statistics[0]
    return _build_lines(
        panel, lines, "value" if several else words(first), panel.path or "variant",
        unit_of_statistic(first), x_scale=panel.scale, y_scale=panel.y_scale,
    )  # fmt: skip


def _collect_places(
    evidence: StudyEvidence, path: str, variant: str, statistic: Statistic
) -> Places:
    """Of the arms of a variant whose value on the axis is a number."""
    return {
        float(place): list(measure_arm(evidence, statistic, name).values())
        for name, arm in evidence.arms.items()
        if arm.variant == variant and isinstance(place := arm.point.get(path), int | float)
    }


def _build_bars(
    evidence: StudyEvidence, panel: BarsPanel, jobs: Mapping[str, Sequence[JobRecord]]
) -> PanelData:
    sets = tuple(_build_set(evidence, statistic, jobs) for statistic in panel.statistics)
    if not any(sets):
        return Nothing(title=panel.title, why="no job has these numbers yet")
    return Bars(
        title=panel.title,
        names=tuple(words(one) for one in panel.statistics),
        units=tuple(unit_of_statistic(one) for one in panel.statistics),
        sets=sets,
    )


def _build_set(
    evidence: StudyEvidence, statistic: Statistic, arms: Mapping[str, Any]
) -> tuple[Bar, ...]:
    found = []
    for name in arms:
        values = list(measure_arm(evidence, statistic, name).values())
        if (centre := mean(values)) is not None:
            low, high = t_interval(values) or (None, None)
            found.append(Bar(arm=name, mean=centre, low=low, high=high))
    return tuple(found)


def _build_snapshots(panel: LooksPanel, jobs: Mapping[str, Sequence[JobRecord]]) -> PanelData:
    def read(job: JobRecord) -> dict[float, Any]:
        layer = chosen_layer(panel.layer, job.snapshots, panel.statistic)
        return {
            one.step: one.statistics.get(panel.statistic)
            for one in job.snapshots
            if one.layer == layer
        }

    lines = [_make_line(name, _gather(found, read)) for name, found in jobs.items()]
    name = panel.statistic.replace("_", " ")
    return _build_lines(
        panel, lines, f"{name}, {panel.layer} layer", "step", "", y_scale=panel.y_scale
    )


def _build_layers(panel: LayersPanel, jobs: Mapping[str, Sequence[JobRecord]]) -> PanelData:
    def read(job: JobRecord) -> dict[float, Any]:
        steps = sorted({one.step for one in job.snapshots})
        if not steps:
            return {}
        step = steps[0] if panel.at == "first" else steps[-1]
        values = [
            one.statistics[panel.statistic]
            for one in job.snapshots
            if one.step == step and panel.statistic in one.statistics and one.layer != NETWORK
        ]
        return {float(number): value for number, value in enumerate(values, start=1)}

    lines = [_make_line(name, _gather(found, read)) for name, found in jobs.items()]
    label = f"{panel.statistic.replace('_', ' ')} at the {panel.at} look"
    return _build_lines(panel, lines, label, "layer, from the input on", "", y_scale=panel.y_scale)


def _build_lines(
    panel: Panel, lines: Sequence[Line], y_label: str, x_label: str, unit: str, **more: Any
) -> PanelData:
    shown = tuple(one for one in lines if one.x)
    if not shown:
        return Nothing(title=panel.title, why="no job has these numbers yet")
    return Lines(
        title=panel.title, x_label=x_label, y_label=y_label, unit=unit, lines=shown, **more
    )


def _build_fans(panel: FansPanel, jobs: Mapping[str, Sequence[JobRecord]]) -> PanelData:
    fans = []
    for name, found in jobs.items():
        job = next((one for one in found if one.snapshots), None)
        layer = chosen_layer(panel.layer, job.snapshots, "after_p50") if job else None
        if job is None or layer is None:
            continue
        fans.append(Fan.of(name, job.row.seed, layer, job.snapshots))
    if not fans:
        return Nothing(title=panel.title, why="no job was looked into (`diagnostics`)")
    return Fans(title=panel.title, fans=tuple(fans))
