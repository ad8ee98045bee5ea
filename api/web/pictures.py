"""Pictures on pages: a study's own figure, a dataset's classes, an augmented batch. Each with its size, so that the page
doesn't jump when it comes, and with what it shows in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from api.routes.catalog import build_catalog
from studies.report import ReportInput, find_own_figure
from studies.report.panels import WIDTH, Lines, PanelData, figure_height
from trainer.spec import MOST_CLASSES, DatasetInfo, Preview

#: Of the page's pixels; the figure itself is finer.
_PIXELS_PER_INCH = 100
#: Images of each class, and the longer side of one.
CLASS_IMAGES, CLASS_PIXELS = 8, 64
#: Images of an augmented batch, and how often each is augmented; larger images are shown smaller.
_ROWS, _DRAWS, _MOST_PIXELS = 4, 6, 96
#: What an augmentation has no default for.
_GIVEN: Mapping[str, Mapping[str, Any]] = {"rotate": {"degrees": 15.0}}


@dataclass(frozen=True, slots=True)
class Picture:
    """Its size as the service draws it, in pixels, and what it shows."""

    width: int
    height: int
    words: str


@dataclass(frozen=True, slots=True)
class OwnFigure:
    """`address` and `file`: without the format's suffix. `is_final`: all jobs have ended. `version`: another picture has
    another one. `missing_reason`: why there is nothing to draw yet."""

    address: str
    file: str
    picture: Picture
    is_final: bool
    version: int
    missing_reason: str | None


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One of the catalogue as a batch is shown with it; `options`: in words."""

    kind: str
    description: str
    options: str
    pitfalls: Sequence[str]
    document: Mapping[str, Any]


def make_own_figure(report: ReportInput) -> OwnFigure | None:
    """None of a study that says nothing of a figure."""
    info = find_own_figure(report)
    if info is None:
        return None
    ended, title = report.finished_at, info.title.partition("\n")[0]
    return OwnFigure(
        address=f"/api/v1/studies/{report.study_id}/figures/{info.name}",
        file=f"s{report.study_id}-{info.name}",
        picture=Picture(
            width=round(WIDTH * _PIXELS_PER_INCH),
            height=round(figure_height(report.panels) * _PIXELS_PER_INCH),
            words=f"{title}: {'; '.join(_describe_panel(one) for one in report.panels)}",
        ),
        is_final=ended is not None,
        version=int(ended.timestamp()) if ended else 0,
        missing_reason=info.missing_reason,
    )


def _describe_panel(panel: PanelData) -> str:
    if isinstance(panel, Lines) and not panel.title:
        return f"{panel.y_label} over {panel.x_label}"
    return panel.title or panel.kind


def picture_of_classes(info: DatasetInfo) -> Picture:
    """As `trainer.data.class_images` draws them; how wide the names are, only the font knows."""
    height, width = _shown(info.shape, CLASS_PIXELS)
    rows = min(len(info.classes), MOST_CLASSES)
    margin = 7 * max(map(len, info.classes[:rows]), default=0)
    named = f"{', '.join(info.classes[:20])}{', …' if len(info.classes) > 20 else ''}"
    return Picture(
        width=min(margin, 200) + 12 + CLASS_IMAGES * (width + 4),
        height=4 + rows * (max(height, 32) + 4) + (20 if rows < len(info.classes) else 0),
        words=f"{CLASS_IMAGES} training images of each class of {info.name}: {named}",
    )


def picture_of_batch(info: DatasetInfo, chosen: Sequence[Augmentation]) -> Picture:
    """As `trainer.data.augmentation.preview` draws it."""
    size = _preview_size(info)
    height, width = (size, size) if size else info.shape[1:]
    factor = max(1, -(-64 // max(height, width)))
    names = ", ".join(one.kind.replace("_", " ") for one in chosen) or "nothing"
    return Picture(
        width=(_DRAWS + 1) * (factor * width + 4) + 8,
        height=_ROWS * (factor * height + 4) + 4,
        words=f"{_ROWS} training images of {info.name}, one per row: the original, then {_DRAWS} versions with {names}",
    )


def make_preview(info: DatasetInfo, chosen: Sequence[Augmentation], seed: int) -> Preview:
    return Preview.model_validate(
        {
            "augmentation": [one.document for one in chosen],
            "image_size": _preview_size(info),
            "images": _ROWS,
            "draws": _DRAWS,
            "seed": seed,
        }
    )


def _preview_size(info: DatasetInfo) -> int | None:
    return _MOST_PIXELS if max(info.shape[1:]) > _MOST_PIXELS else None


@cache
def augmentations() -> Mapping[str, Augmentation]:
    """All of the catalogue, by kind, with their defaults."""
    return {
        choice.kind: _make_augmentation(
            choice.kind, choice.description, choice.pitfalls, choice.options["properties"]
        )
        for choice in build_catalog()["augmentations"]
    }


def _make_augmentation(
    kind: str, description: str, pitfalls: Sequence[str], properties: Mapping[str, Any]
) -> Augmentation:
    given = _GIVEN.get(kind, {})
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    options = ", ".join(f"{name} {value}" for name, value in {**given, **defaults}.items())
    return Augmentation(kind, description, options, pitfalls, {"kind": kind, **given})


def _shown(shape: tuple[int, int, int], longer_side: int) -> tuple[int, int]:
    """Height and width: enlarged by a whole factor, or made smaller."""
    factor = longer_side / max(shape[1:])
    factor = int(factor) if factor >= 1 else factor
    return max(1, round(shape[1] * factor)), max(1, round(shape[2] * factor))
