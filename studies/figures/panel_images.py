"""Pictures in a study's own figure: tiles of images, and predictions over one or two features."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from studies.figures.mpl import finish
from studies.report.panels import Images, Plane, Tiles

#: Of the classes of a plane; more come again.
_CLASSES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def draw_tiles(part: SubFigure, panel: Tiles) -> None:
    """A row of pictures per label; of other than three channels, their mean."""
    axes = part.subplots(len(panel.rows), 1, squeeze=False)[:, 0]
    for axis, row in zip(axes, panel.rows, strict=True):
        axis.imshow(_strip(row.pictures.array(), centred=panel.centred), vmin=0, vmax=1)
        axis.set_title(row.label, fontsize="x-small", loc="left", pad=2)
        axis.set_axis_off()


def _strip(images: Images, *, centred: bool) -> Any:
    """N × C × H × W side by side, a white pixel between: H × W' × 3 in [0, 1]."""
    colored = images if images.shape[1] == 3 else images.mean(1, keepdims=True).repeat(3, axis=1)
    if centred:
        colored = 0.5 + colored / (2 * (float(np.abs(colored).max()) or 1.0))
    count, _, height, width = colored.shape
    strip = np.ones((height, count * (width + 1) - 1, 3), dtype=np.float32)
    for number, image in enumerate(colored):
        left = number * (width + 1)
        strip[:, left : left + width] = image.transpose(1, 2, 0).clip(0, 1)
    return strip


def draw_plane(axis: Axes, plane: Plane) -> None:
    """Of one feature the fitted curve, of two the class that wins; the training examples on it."""
    x, train_x, train_y = plane.x.array(), plane.train_x.array(), plane.train_y.array()
    predictions = plane.predictions.array()
    if x.shape[1] == 1:
        order = np.argsort(x[:, 0])
        axis.scatter(train_x[:, 0], train_y, s=8, color="0.4", zorder=3)
        axis.plot(x[order, 0], predictions.reshape(len(x), -1)[order, 0], color=_CLASSES[1])
        # A wild fit leaves the picture rather than squeeze it.
        room = float(np.ptp(train_y)) * 0.3
        axis.set_ylim(float(train_y.min()) - room, float(train_y.max()) + room)
    else:
        _draw_classes(axis, x, predictions, train_x, train_y)
    axis.set_title(plane.arm, fontsize="small")
    finish(axis)


def _draw_classes(
    axis: Axes, x: Images, predictions: Images, train_x: Images, train_y: Images
) -> None:
    side = round(len(x) ** 0.5)
    shape = (side, side)
    classes = predictions.shape[1]
    colors = [_CLASSES[one % len(_CLASSES)] for one in range(classes)]
    winners = predictions.argmax(1).reshape(shape)
    axis.contourf(
        x[:, 0].reshape(shape), x[:, 1].reshape(shape), winners,
        levels=np.arange(-0.5, classes), colors=colors, alpha=0.25,
    )  # fmt: skip
    for one in range(classes):
        chosen = train_y == one
        axis.scatter(train_x[chosen, 0], train_x[chosen, 1], s=8, color=colors[one])
