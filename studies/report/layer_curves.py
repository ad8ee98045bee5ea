"""What was measured inside a job's network while it trained: one statistic, a curve for each layer."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from store.db import Job
from store.results import result_rows, series
from studies.comparison import FrozenModel
from studies.report.curves import CurveAxis
from studies.report.diagnostics import spread
from trainer.spec import LAYER_STATISTICS, NETWORK_STATISTICS

#: More lines nobody tells apart; more points no screen shows.
MOST_LAYERS, MOST_POINTS = 12, 500
_USUAL = "gradient_norm"


class LayerCurve(FrozenModel):
    """One layer's values, one for each place of `LayerCurves.at`; None: not finite, or not measured."""

    layer: str
    values: tuple[float | None, ...]


class LayerCurves(FrozenModel):
    """One statistic of a job's layers, in the order of the network; `statistics`: all that were recorded; `at`: epochs or
    steps; `left_out`: layers that have no curve here, since there are too many."""

    statistic: str | None
    statistics: tuple[str, ...]
    x: CurveAxis
    at: tuple[int, ...] = ()
    layers: tuple[LayerCurve, ...] = ()
    left_out: int = 0


def read_layer_curves(session: Session, job: Job, statistic: str | None = None) -> LayerCurves:
    """Of a job as it is now; without a `statistic`, the usual one. Empty where that was not recorded."""
    kind = (job.spec.get("diagnostics") or {}).get("kind")
    x: CurveAxis = "step" if kind == "steps" else "epoch"
    firsts = sorted(result_rows.first_diagnoses(session, job.id).values(), key=lambda row: row.id)
    statistics = tuple(
        name
        for name in dict.fromkeys((*LAYER_STATISTICS, *NETWORK_STATISTICS))
        if any(name in row.statistics for row in firsts)
    )
    chosen = statistic or (_USUAL if _USUAL in statistics else next(iter(statistics), None))
    layers = [row.layer for row in firsts if chosen in row.statistics]
    if chosen is None or not layers:
        return LayerCurves(statistic=chosen, statistics=statistics, x=x)
    shown = spread(layers, MOST_LAYERS)
    steps = spread(series.snapshot_steps(session, job.id, shown[0]), MOST_POINTS)
    measured = series.statistic(session, job.id, chosen, shown, steps)
    epochs = {one.step: one.epoch for one in measured}
    return LayerCurves(
        statistic=chosen,
        statistics=statistics,
        x=x,
        at=tuple(steps if x == "step" else (epochs[step] for step in steps)),
        layers=tuple(_make_curve(layer, steps, measured) for layer in shown),
        left_out=len(layers) - len(shown),
    )


def _make_curve(
    layer: str, steps: Sequence[int], measured: Sequence[series.Measured]
) -> LayerCurve:
    values = {one.step: one.value for one in measured if one.layer == layer}
    return LayerCurve(layer=layer, values=tuple(values.get(step) for step in steps))
