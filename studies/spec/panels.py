"""What a study's own figure shows, as data: panels over its jobs."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from studies.spec.claims import ArmName, Curve, Statistic
from trainer.spec import Part

Scale: TypeAlias = Literal["linear", "log"]


class _Panel(Part):
    title: Annotated[str, Field(max_length=200)] = ""
    arms: Annotated[
        tuple[ArmName, ...], Field(max_length=100, description="only these; none: all")
    ] = ()


class CurvesPanel(_Panel):
    """Learning curves over steps: mean and 95 % band per arm."""

    panel: Literal["curves"]
    column: Curve = "val_accuracy"
    as_error: Annotated[bool, Field(description="one minus the accuracy")] = False
    reach: Annotated[
        ArmName | None,
        Field(description="an arm whose best is drawn, with a mark where each arm reaches it"),
    ] = None
    stops: Annotated[
        bool,
        Field(description="mark where each early-stopping rule would have stopped, on average"),
    ] = False


class OverPanel(_Panel):
    """Statistics over a path of the matrix, a line per variant; or along the variants themselves, which are
    given places."""

    panel: Literal["over"]
    statistics: Annotated[tuple[Statistic, ...], Field(min_length=1, max_length=4)]
    path: str | None = None
    along: Annotated[
        dict[ArmName, float] | None, Field(description="arm → its place on the axis")
    ] = None
    scale: Scale = "linear"
    y_scale: Scale = "linear"

    @model_validator(mode="after")
    def _along_one(self) -> Self:
        if (self.path is None) == (self.along is None):
            raise ValueError("say either path or along")
        return self


class BarsPanel(_Panel):
    """Statistics per arm with 95 % intervals, a group of bars for each arm."""

    panel: Literal["bars"]
    statistics: Annotated[tuple[Statistic, ...], Field(min_length=1, max_length=4)]


class LooksPanel(_Panel):
    """A statistic of the network's diagnostics over steps (`diagnostics`): mean and band per arm."""

    panel: Literal["looks"]
    statistic: str
    layer: str = "last"
    y_scale: Scale = "linear"


class LayersPanel(_Panel):
    """A statistic of the network's diagnostics over its depth, at the first or the last measurement."""

    panel: Literal["layers"]
    statistic: str
    at: Literal["first", "last"] = "last"
    y_scale: Scale = "log"


class FansPanel(_Panel):
    """Percentiles of what a norm is given and gives, over steps: one job per arm."""

    panel: Literal["fans"]
    layer: str = "last"


class ArraysPanel(_Panel):
    """What an evaluation kept (`outputs`): filters and images as tiles, responses as maps, a grid as fitted
    curves or decision boundaries, histograms of weights and activations, the error over masks."""

    panel: Literal[
        "filters", "weights", "activations", "responses", "augmented", "grid", "mc_curve"
    ]
    evaluation: Annotated[str | None, Field(description="its prefix, where several keep it")] = None


Panel: TypeAlias = Annotated[
    CurvesPanel | OverPanel | BarsPanel | LooksPanel | LayersPanel | FansPanel | ArraysPanel,
    Field(discriminator="panel"),
]


def panel_arms(panel: Panel) -> tuple[str, ...]:
    """All that it names."""
    match panel:
        case CurvesPanel(reach=str(name)):
            return (*panel.arms, name)
        case OverPanel(along=dict(places)):
            return (*panel.arms, *places)
        case _:
            return panel.arms


def panel_statistics(panel: Panel) -> tuple[Statistic, ...]:
    """All that it measures of jobs."""
    return panel.statistics if isinstance(panel, OverPanel | BarsPanel) else ()
