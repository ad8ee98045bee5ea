"""What the check of a spec against its model and data found."""

from typing import Annotated

from pydantic import Field

from trainer.spec.part import Part


class Problem(Part):
    """Why a spec cannot be trained as it is."""

    pointer: Annotated[str, Field(description="JSON pointer into the spec")]
    layer: Annotated[str | None, Field(description="the layer of the model that it is about")] = (
        None
    )
    detail: str
    remedy: Annotated[str | None, Field(description="what would be right")] = None


class Layer(Part):
    """A norm layer of the model, as one sample comes to it."""

    name: str
    kind: Annotated[str, Field(description="the class that the model itself has there")]
    channels: int
    positions: Annotated[
        int, Field(description="height × width, or tokens; 1 where there are none")
    ]


class Examples(Part):
    """How many examples each split has."""

    train: int
    val: int
    test: int


class Report(Part):
    """No problems: it can be trained. Warnings are for the person, notes say what was built."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parameters: Annotated[
        int, Field(description="trained parameters; 0 when it cannot be built")
    ] = 0
    layers: tuple[Layer, ...] = ()
    examples: Examples | None = None
    steps: Annotated[
        int, Field(description="of the optimizer, at most; 0 when it cannot be trained")
    ] = 0
    rows: Annotated[
        int, Field(description="of measurements that one job records at most; 0 when it cannot be")
    ] = 0
