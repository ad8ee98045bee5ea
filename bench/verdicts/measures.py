"""What the statistics of claims amount to, read from REST's own rows with numpy: written apart from
`studies.claims.measure`, so that a mistake there shows. Knows of statistics what presets use; raises ValueError of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A row of /results, with the items of the job's /epochs and /diagnostics."""

    row: Json
    epochs: Sequence[Json]
    looks: Sequence[Json]


def value_of(statistic: Json, job: Job, peers: Mapping[tuple[str, str], Job]) -> float:
    """NaN where there is none; `peers`: the jobs of the same seed, by variant and point."""
    if job.row["status"] != "succeeded":
        return numpy.nan

    def part(one: Json, of: Job = job) -> float:
        return value_of(one, of, peers)

    match dict(statistic):
        case {"kind": "metric", "name": name}:
            return _metric(job, name)
        case {"kind": "difference", "of": [one, other]}:
            return part(one) - part(other)
        case {"kind": "ratio", "of": [one, other]}:
            return part(one) / part(other)
        case {"kind": "log10", "of": one}:
            return float(numpy.log10(part(one)))
        case {"kind": "gain", "of": one, "over": variant}:
            return part(one, peers[variant, str(job.row["point"])]) - part(one)
        case {"kind": "curve", "column": column, "take": "last"}:
            return _by_chance(job, column, _curve(job, column)[1][-1])
        case {"kind": "curve", "column": column, "take": "at_step", "step": step}:
            steps, values = _curve(job, column)
            return values[steps <= step][-1]
        case {"kind": "steps_to_reach", "column": "val_accuracy", "best_of": variant}:
            return _steps(job, numpy.nanmax(_curve(peers[variant, str({})], "val_accuracy")[1]))
        case {"kind": "look", "statistic": name, "layer": layer, "take": "first" | "last" as take}:
            return _looked(job, layer, [name])[0][0 if take == "first" else -1]
        case {"kind": "spread", "side": side, "layer": layer, "take": "total_variation"}:
            (median,) = _looked(job, layer, [f"{side}_p50"])
            return float(numpy.abs(numpy.diff(median)).sum())
        case {"kind": "spread", "side": side, "layer": layer, "take": "spread_ratio"}:
            low, high = _looked(job, layer, [f"{side}_p15", f"{side}_p85"])
            return float(numpy.exp(numpy.ptp(numpy.log(high - low))))
        case _:
            raise ValueError(f"not known here: {statistic}")


def _metric(job: Job, name: str) -> float:
    if name.endswith("_error"):
        return 1.0 - _metric(job, name[: -len("_error")] + "_accuracy")
    value = job.row["metrics"].get(name)
    return _by_chance(job, name, numpy.nan) if value is None else float(value)


def _by_chance(job: Job, name: str, else_value: float) -> float:
    """What guessing scores, where the job has diverged."""
    if job.row["reason"] != "diverged":
        return else_value
    return float(job.row["facts"].get(f"chance_{name.rpartition('_')[2]}", numpy.nan))


def _curve(job: Job, column: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    steps = numpy.array([one["step"] for one in job.epochs])
    return steps, numpy.array([one[column] for one in job.epochs], dtype=float)


def _steps(job: Job, level: float) -> float:
    steps, values = _curve(job, "val_accuracy")
    there = steps[values >= level]
    return float(there[0] if len(there) else job.row["facts"]["total_steps"] + steps[0])


def _looked(job: Job, layer: str, names: Sequence[str]) -> list[numpy.ndarray]:
    """Over the looks, each statistic of the layer; `first` and `last` are of those layers that have it."""
    having = [
        one["layer"]
        for one in job.looks
        if one["layer"] != "network" and one["statistics"].get(names[0]) is not None
    ]
    wanted = {"first": having[:1], "last": having[-1:]}.get(layer, [layer])
    rows = [one["statistics"] for one in job.looks if one["layer"] in wanted]
    return [numpy.array([row[name] for row in rows], dtype=float) for name in names]
