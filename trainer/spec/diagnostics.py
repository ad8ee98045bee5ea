"""What is measured inside the network while it trains."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from trainer.spec.part import Count, Part


class NoDiagnostics(Part):
    """Nothing is measured inside the network."""

    kind: Literal["off"]


class _Measured(Part):
    layers: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None,
        Field(
            description="names of norms, convolutions and linear layers, or prefixes that end in *; "
            "none: all of them"
        ),
    ] = None
    samples: Annotated[
        Count,
        Field(ge=2, le=4096, description="training examples that are looked at, always the same"),
    ] = 16


class EpochDiagnostics(_Measured):
    """After every evaluation period: activations before and after each norm (mean, standard deviation,
    percentiles, dead units, sparsity), their drift, weights, gradients, statistics gap, loss gap."""

    kind: Literal["epoch"]


class StepDiagnostics(_Measured):
    """The same at steps spaced evenly on a logarithmic scale, from the first to the last."""

    kind: Literal["steps"]
    points: Annotated[int, Field(strict=True, ge=2, le=1000)] = 30
    pitfalls: ClassVar[tuple[str, ...]] = (
        "dense early steps cost time: each point is two passes over the samples",
    )


DiagnosticsSpec: TypeAlias = Annotated[
    NoDiagnostics | EpochDiagnostics | StepDiagnostics, Field(discriminator="kind")
]
