"""What jobs have kept of their networks' insides: looks from the database, weights from files of the
storage, whose digests the database knows. A file that isn't what was written is as good as none."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from store.db import Diagnosis, File
from store.results import series
from studies.report.panels import ARRAYS, Arrays, Column, Fan, read_arrays
from studies.report.schemas import Filters, Histogram, JobReport
from trainer.spec import PERCENTILES

#: Layers that are shown, evenly over the depth.
MOST_FANS, MOST_HISTOGRAMS = 3, 4
MOST_FILTERS = 24


def read_fan(session: Session, job: JobReport) -> list[Fan]:
    """Of some of the job's norms, the first and the last among them; none where nobody looked."""
    layers = spread(series.norm_layers(session, job.id), MOST_FANS)
    looks = series.looks(session, job.id, layers) if layers else ()
    return [_fan(job, layer, [one for one in looks if one.layer == layer]) for layer in layers]


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


def spread(names: Sequence[str], most: int) -> list[str]:
    """Evenly over them, the first and the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[round(number * (len(names) - 1) / (most - 1))] for number in range(most)]


def _fan(job: JobReport, layer: str, looks: Sequence[Diagnosis]) -> Fan:
    def columns(side: str) -> dict[str, Column]:
        return {
            str(percent): tuple(one.statistics.get(f"{side}_p{percent}") for one in looks)
            for percent in PERCENTILES
        }

    return Fan(
        variant=job.variant,
        seed=job.seed,
        layer=layer,
        steps=tuple(one.step for one in looks),
        before=columns("before"),
        after=columns("after"),
    )


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
