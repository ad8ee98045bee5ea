"""Panels of what evaluations have kept as files: tiles, planes, histograms, curves over masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from store.db import File
from studies.comparison import JobRecord
from studies.report.panels.kept_arrays import Arrays, read_arrays
from studies.report.panels.schemas import (
    Line,
    Lines,
    Nothing,
    Numbers,
    PanelData,
    Plane,
    Planes,
    Row,
    Steps,
    Tiles,
)
from studies.spec import ArraysPanel
from studies.stats import mean, t_interval

MOST_TILES, MOST_PICTURES, MOST_MAPS = 24, 8, 8

Files = Mapping[int, Sequence[File]]
Jobs = Mapping[str, Sequence[JobRecord]]


def array_panel(panel: ArraysPanel, jobs: Jobs, files: Files, storage: Path) -> PanelData:
    """Of the first job of each arm that kept it; of a curve over masks, of all."""
    found = {
        name: kept
        for name, records in jobs.items()
        if (kept := _all(panel, records, files, storage, most=None if _is_curve(panel) else 1))
    }
    if not found:
        wish = f"put `evaluations: [{{outputs: [{panel.panel}]}}]` into the study"
        return Nothing(title=panel.title, why=f"no job has kept it: {wish}")
    firsts = {name: kept[0] for name, kept in found.items()}
    match panel.panel:
        case "filters":
            return _filters(panel, firsts)
        case "augmented":
            return _pairs(panel, firsts, ("original", "augmented"))
        case "responses":
            return _responses(panel, firsts)
        case "weights":
            return _weights(panel, firsts)
        case "activations":
            return _steps(panel, firsts, "hidden activation")
        case "grid":
            return _planes(panel, firsts)
        case "mc_curve":
            return _mc_curve(panel, found)


def _is_curve(panel: ArraysPanel) -> bool:
    return panel.panel == "mc_curve"


def _all(
    panel: ArraysPanel, records: Sequence[JobRecord], files: Files, storage: Path, most: int | None
) -> list[Arrays]:
    found: list[Arrays] = []
    for record in records:
        own = files.get(record.row.job_id, ())
        arrays = read_arrays(panel.panel, own, storage, panel.evaluation)
        if arrays is not None:
            found.append(arrays)
        if most is not None and len(found) >= most:
            break
    return found


def _filters(panel: ArraysPanel, firsts: Mapping[str, Arrays]) -> PanelData:
    rows = tuple(
        Row(label=name, pictures=Numbers.of(one["filters"][:MOST_TILES]))
        for name, one in firsts.items()
    )
    return Tiles(title=panel.title, rows=rows, centred=True)


def _pairs(panel: ArraysPanel, firsts: Mapping[str, Arrays], names: tuple[str, str]) -> PanelData:
    """The first row is the originals, which are the same in every arm."""
    first, second = names
    originals = next(iter(firsts.values()))[first][:MOST_PICTURES]
    rows = [Row(label="plain", pictures=Numbers.of(originals))]
    rows += [
        Row(label=name, pictures=Numbers.of(one[second][:MOST_PICTURES]))
        for name, one in firsts.items()
    ]
    return Tiles(title=panel.title, rows=tuple(rows), centred=False)


def _responses(panel: ArraysPanel, firsts: Mapping[str, Arrays]) -> PanelData:
    """Maps of the first example, before and after, each scaled by the largest of its row."""
    rows = []
    for name, one in firsts.items():
        for side in ("before", "after"):
            maps = one[side][0][:MOST_MAPS, None]
            scale = abs(maps).max() or 1.0
            label = f"{name}, {side} (up to {scale:.3g})"
            rows.append(Row(label=label, pictures=Numbers.of(0.5 + maps / (2 * scale))))
    return Tiles(title=panel.title, rows=tuple(rows), centred=False)


def _weights(panel: ArraysPanel, firsts: Mapping[str, Arrays]) -> PanelData:
    """Of the first layer."""
    one_layer = {
        name: {"edges": one["edges"][0], "counts": one["counts"][0]} for name, one in firsts.items()
    }
    return _steps(panel, one_layer, "weight of the first layer")


def _steps(panel: ArraysPanel, firsts: Mapping[str, Any], x_label: str) -> PanelData:
    return Steps(
        title=panel.title,
        x_label=x_label,
        arms=tuple(firsts),
        edges=tuple(Numbers.of(one["edges"]) for one in firsts.values()),
        counts=tuple(Numbers.of(one["counts"]) for one in firsts.values()),
    )


def _planes(panel: ArraysPanel, firsts: Mapping[str, Arrays]) -> PanelData:
    names = ("x", "predictions", "train_x", "train_y")
    planes = (
        Plane(arm=arm, **{name: Numbers.of(one[name]) for name in names})
        for arm, one in firsts.items()
    )
    return Planes(title=panel.title, planes=tuple(planes))


def _mc_curve(panel: ArraysPanel, found: Mapping[str, Sequence[Arrays]]) -> PanelData:
    lines = []
    for name, kept in found.items():
        columns = list(zip(*(one["error"].tolist() for one in kept), strict=True))
        intervals = [t_interval(one) for one in columns]
        lines.append(
            Line(
                arm=name,
                label=name,
                x=tuple(float(k) for k in kept[0]["k"]),
                mean=tuple(mean(one) or 0.0 for one in columns),
                low=tuple(one[0] if one else None for one in intervals),
                high=tuple(one[1] if one else None for one in intervals),
            )
        )
    return Lines(
        title=panel.title,
        x_label="masks that are averaged",
        y_label="test error",
        unit="points",
        lines=tuple(lines),
    )
