"""What jobs have recorded of their networks' layers: snapshots from the database, weights from files of the
storage, whose digests the database knows. A file that isn't what was written is as good as none."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sqlalchemy.orm import Session

from store.db import File
from store.results import series
from studies.report.panels import ARRAYS, Arrays, Fan, read_arrays
from studies.report.schemas import Filters, Histogram, JobReport

Item = TypeVar("Item")

#: Layers that are shown, evenly over the depth.
MOST_FANS, MOST_HISTOGRAMS = 3, 4
MOST_FILTERS = 24


def read_fans(session: Session, arms: Sequence[Sequence[JobReport]]) -> list[Fan]:
    """Of some norms of the first job of each arm that recorded any, the first and the last norm among them."""
    layers = series.norm_layers(session, [job.id for jobs in arms for job in jobs])
    shown = [job for jobs in arms if (job := next((one for one in jobs if one.id in layers), None))]
    chosen = {job.id: spread(layers[job.id], MOST_FANS) for job in shown}
    snapshots = series.layer_snapshots(session, chosen)
    return [
        Fan.of(job.variant, job.seed, layer, snapshots[job.id])
        for job in shown
        for layer in chosen[job.id]
    ]


def read_filters(job: JobReport, files: Sequence[File], storage: Path) -> Filters | None:
    arrays = read_arrays("filters", files, storage)
    if arrays is None or arrays["filters"].ndim != 4:
        return None
    return Filters.of(
        arrays["filters"][:MOST_FILTERS].astype(np.float32),
        variant=job.variant,
        seed=job.seed,
        layer=str(arrays["layer"]),
        total=int(arrays["total"]),
    )


def read_histograms(
    variant: str, jobs: Sequence[JobReport], files: Mapping[int, Sequence[File]], storage: Path
) -> list[Histogram]:
    """Of some of the layers, added up over the jobs that have them."""
    kept = [read_arrays("weights", files.get(one.id, ()), storage) for one in jobs]
    by_layer: dict[str, list[Histogram]] = {}
    for arrays in kept:
        for one in _histograms(variant, arrays) if arrays is not None else ():
            by_layer.setdefault(one.layer, []).append(one)
    return [_sum(by_layer[layer]) for layer in spread(list(by_layer), MOST_HISTOGRAMS)]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Evenly over them, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]


def _histograms(variant: str, arrays: Arrays) -> Iterator[Histogram]:
    columns = (arrays[name] for name in ARRAYS["weights"])
    for layer, edges, counts, low, high in zip(*columns, strict=True):
        if math.isfinite(low):
            yield Histogram(
                variant=variant,
                layer=str(layer),
                jobs=1,
                reach=float(edges[-1]),
                counts=tuple(int(one) for one in counts),
                minimum=float(low),
                maximum=float(high),
            )


def _sum(found: Sequence[Histogram]) -> Histogram:
    """Over the widest reach: reaches are powers of two, so that narrow bins lie whole in wide ones."""
    reach = max(one.reach for one in found)
    total = np.sum([_widened(one, reach) for one in found], axis=0)
    return found[0].model_copy(
        update={
            "jobs": len(found),
            "reach": reach,
            "counts": tuple(int(count) for count in total),
            "minimum": min(one.minimum for one in found),
            "maximum": max(one.maximum for one in found),
        }
    )


def _widened(one: Histogram, reach: float) -> Any:
    """Bin b of n, from -1 to 1, lies in bin floor((b - n/2) / factor) + n/2 of the wider histogram."""
    half, factor = len(one.counts) // 2, round(reach / one.reach)
    wide = np.zeros(len(one.counts), dtype=np.int64)
    places = (np.arange(len(one.counts)) - half) // factor + half
    np.add.at(wide, places, one.counts)
    return wide
