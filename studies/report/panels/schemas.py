"""The data of a study's own figure, panel by panel, ready to be drawn; it crosses between processes as JSON."""

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing
from pydantic import Field

from store.results import LayerSnapshot
from studies.comparison import FrozenModel
from trainer.spec import PERCENTILES

Column: TypeAlias = tuple[float | None, ...]
Images: TypeAlias = numpy.typing.NDArray[np.float32]


class Fan(FrozenModel):
    """Percentiles of what one norm of one job is given and gives, over steps: `before["50"]` is a column."""

    variant: str
    seed: int
    layer: str
    steps: tuple[int, ...]
    before: dict[str, Column]
    after: dict[str, Column]

    @classmethod
    def of(cls, variant: str, seed: int, layer: str, snapshots: Sequence[LayerSnapshot]) -> "Fan":
        """From the snapshots of one job, in order; those of other layers are left out."""
        shown = [snapshot for snapshot in snapshots if snapshot.layer == layer]

        def columns(side: str) -> dict[str, Column]:
            return {
                str(percent): tuple(one.statistics.get(f"{side}_p{percent}") for one in shown)
                for percent in PERCENTILES
            }

        return cls(
            variant=variant,
            seed=seed,
            layer=layer,
            steps=tuple(snapshot.step for snapshot in shown),
            before=columns("before"),
            after=columns("after"),
        )


class Numbers(FrozenModel):
    """An array of float32: its shape and its bytes, little-endian, base64."""

    shape: tuple[int, ...]
    content: str

    @classmethod
    def of(cls, values: Any) -> "Numbers":
        array = np.ascontiguousarray(values, dtype="<f4")
        return cls(shape=array.shape, content=base64.b64encode(array.tobytes()).decode())

    def array(self) -> Images:
        return np.frombuffer(base64.b64decode(self.content), "<f4").reshape(self.shape)


class Line(FrozenModel):
    """One arm's or variant's: means over seeds, with their intervals where there are two seeds."""

    arm: str
    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


class Mark(FrozenModel):
    """`rule`: of early stopping, and it would have stopped there; none: an arm reaches a level there."""

    arm: str
    x: float
    y: float
    rule: str | None = None


class Lines(FrozenModel):
    """`unit`: points are shares, shown in percent."""

    kind: Literal["lines"] = "lines"
    title: str
    x_label: str
    y_label: str
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    unit: str = ""
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    level: float | None = None


class Bar(FrozenModel):
    arm: str
    mean: float
    low: float | None
    high: float | None


class Bars(FrozenModel):
    """A set of bars per statistic, by arm."""

    kind: Literal["bars"] = "bars"
    title: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    sets: tuple[tuple[Bar, ...], ...]


class Fans(FrozenModel):
    kind: Literal["fans"] = "fans"
    title: str
    fans: tuple[Fan, ...]


class Steps(FrozenModel):
    """Histograms, a stepped line per arm: `edges` has one more than `counts`."""

    kind: Literal["steps"] = "steps"
    title: str
    x_label: str
    arms: tuple[str, ...]
    edges: tuple[Numbers, ...]
    counts: tuple[Numbers, ...]


class Row(FrozenModel):
    """Pictures side by side: N × C × H × W."""

    label: str
    pictures: Numbers


class Tiles(FrozenModel):
    """`centred`: grey is zero, else pixels in [0, 1]."""

    kind: Literal["tiles"] = "tiles"
    title: str
    rows: tuple[Row, ...]
    centred: bool


class Plane(FrozenModel):
    """Predictions of one arm over one or two features, and what it was trained on."""

    arm: str
    x: Numbers
    predictions: Numbers
    train_x: Numbers
    train_y: Numbers


class Planes(FrozenModel):
    kind: Literal["planes"] = "planes"
    title: str
    planes: tuple[Plane, ...]


class Nothing(FrozenModel):
    """Why a panel is empty."""

    kind: Literal["nothing"] = "nothing"
    title: str
    why: str


PanelData: TypeAlias = Annotated[
    Lines | Bars | Fans | Steps | Tiles | Planes | Nothing, Field(discriminator="kind")
]
