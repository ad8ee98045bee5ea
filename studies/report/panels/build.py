"""From a study's jobs to the data of its own figure, panel by panel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

from store.db import File
from studies.claims import (
    chosen_layer,
    measure_arm,
    unit_of_statistic,
    words,
)
from studies.comparison import JobRecord, StudyEvidence
from studies.report.panels.curves import Places, build_curves, build_lines, gather_places, make_line
from studies.report.panels.from_arrays import array_panel
from studies.report.panels.schemas import (
    Bar,
    Bars,
    Fan,
    Fans,
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
)
from studies.stats import mean, t_interval
from trainer.spec import NETWORK

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
            return build_curves(evidence, panel, jobs)
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


def _build_over(evidence: StudyEvidence, panel: OverPanel) -> PanelData:
    several = len(panel.statistics) > 1
    lines = []
    for statistic in panel.statistics:
        label = words(statistic)
        if panel.along is not None:
            values = {x: measure_arm(evidence, statistic, name) for name, x in panel.along.items()}
            lines.append(make_line(label, {x: list(one.values()) for x, one in values.items()}))
            continue
        for variant in evidence.study.variants:
            places = _collect_places(evidence, panel.path or "", variant, statistic)
            lines.append(make_line(variant, places, f"{variant}, {label}" if several else variant))
    first = panel.statistics[0]
    return build_lines(
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

    lines = [make_line(name, gather_places(found, read)) for name, found in jobs.items()]
    name = panel.statistic.replace("_", " ")
    return build_lines(
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

    lines = [make_line(name, gather_places(found, read)) for name, found in jobs.items()]
    label = f"{panel.statistic.replace('_', ' ')} at the {panel.at} measurement"
    return build_lines(panel, lines, label, "layer, from the input on", "", y_scale=panel.y_scale)


def _build_fans(panel: FansPanel, jobs: Mapping[str, Sequence[JobRecord]]) -> PanelData:
    fans = []
    for name, found in jobs.items():
        # A fan shows quantiles of one network; an average over seeds would show the spread of none.
        job = next((one for one in found if one.snapshots), None)
        layer = chosen_layer(panel.layer, job.snapshots, "after_p50") if job else None
        if job is None or layer is None:
            continue
        fans.append(Fan.of(name, job.row.seed, layer, job.snapshots))
    if not fans:
        return Nothing(title=panel.title, why="no job recorded `diagnostics`")
    return Fans(title=panel.title, fans=tuple(fans))
