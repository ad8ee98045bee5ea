"""What a study claims, as data: a statistic of its jobs, and what should hold of it between arms."""

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from trainer.spec import KEY_PATTERN, Name, Part

Curve: TypeAlias = Literal["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
#: An arm as tables name it: `group`, or `group · batch_size=2`.
ArmName: TypeAlias = Annotated[str, Field(min_length=1, max_length=1000)]
Chain: TypeAlias = Annotated[tuple[ArmName, ...], Field(min_length=2, max_length=100)]


class MetricOf(Part):
    """A metric of the finished job; `<name>_error` is one minus `<name>_accuracy`. A diverged job counts
    with its best checkpoint on validation, else with what guessing scores."""

    kind: Literal["metric"] = "metric"
    name: Annotated[str, Field(pattern=KEY_PATTERN)]


class Diverged(Part):
    """1 of a job whose loss stopped being finite, else 0."""

    kind: Literal["diverged"]


class CurveOf(Part):
    """One number of a learning curve. A diverged job's goes on at what guessing scores."""

    kind: Literal["curve"]
    column: Curve
    take: Literal["last", "best", "mean", "at_step"] = "last"
    step: Annotated[
        int | None, Field(ge=1, description="for at_step: the last evaluation up to this step")
    ] = None

    @model_validator(mode="after")
    def _has_its_step(self) -> Self:
        if (self.take == "at_step") != (self.step is not None):
            raise ValueError("step goes with take: at_step, and is needed there")
        return self


class StepsToReach(Part):
    """Optimizer steps until a curve was first evaluated at a value (accuracies at least, losses at most).
    A job that never got there counts with its planned steps and one evaluation period more, a lower bound:
    a claim that its arm needs fewer steps than another has no verdict."""

    kind: Literal["steps_to_reach"]
    column: Curve = "val_accuracy"
    value: float | None = None
    best_of: Annotated[
        ArmName | None, Field(description="instead of a value: this arm's best at the same seed")
    ] = None

    @model_validator(mode="after")
    def _reaches_one_thing(self) -> Self:
        if (self.value is None) == (self.best_of is None):
            raise ValueError("say either value or best_of")
        return self


Take: TypeAlias = Literal["first", "last", "mean", "max", "min", "spread_ratio", "total_variation"]


class DiagnosticOf(Part):
    """One number of the network's diagnostics during training (`diagnostics`).

    spread_ratio is the largest over the smallest; total_variation the sum of the absolute changes.
    """

    kind: Literal["look"]
    statistic: Annotated[str, Field(pattern=KEY_PATTERN)]
    layer: Annotated[
        str,
        Field(
            min_length=1,
            max_length=300,
            description="first, last: of those that have this statistic; network; or a layer's name",
        ),
    ] = "last"
    take: Take = "last"
    from_step: Annotated[int, Field(ge=0)] = 0


class Spread(Part):
    """How a layer's distribution moves over training: its width, p85 - p15, of what a norm is given
    (before) or gives (after); or with total_variation, how far its median wanders."""

    kind: Literal["spread"]
    side: Literal["before", "after"] = "after"
    layer: Annotated[str, Field(min_length=1, max_length=300)] = "last"
    take: Literal["spread_ratio", "total_variation"] = "spread_ratio"
    from_step: Annotated[int, Field(ge=0)] = 0


class Combined(Part):
    """The difference or the ratio of two statistics of the same job."""

    kind: Literal["difference", "ratio"]
    of: tuple["Statistic", "Statistic"]


class Gain(Part):
    """How much more of a statistic another variant has than this job, at the same point and seed: of errors,
    what this one gains."""

    kind: Literal["gain"]
    of: "Statistic"
    over: Name


class Logarithm(Part):
    """Of base 10: for what varies over orders of magnitude."""

    kind: Literal["log10"]
    of: "Statistic"


def _spelled_out(value: Any) -> Any:
    return {"kind": "metric", "name": value} if isinstance(value, str) else value


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "combined" if kind in ("difference", "ratio") else kind


_Statistic: TypeAlias = Annotated[
    Annotated[MetricOf, Tag("metric")]
    | Annotated[Diverged, Tag("diverged")]
    | Annotated[CurveOf, Tag("curve")]
    | Annotated[StepsToReach, Tag("steps_to_reach")]
    | Annotated[DiagnosticOf, Tag("look")]
    | Annotated[Spread, Tag("spread")]
    | Annotated[Combined, Tag("combined")]
    | Annotated[Gain, Tag("gain")]
    | Annotated[Logarithm, Tag("log10")],
    Discriminator(
        _kind,
        custom_error_type="unknown_statistic",
        custom_error_message="a statistic is a metric's name, or has a kind: metric, diverged, curve, "
        "steps_to_reach, look, spread, difference, ratio, gain, log10",
    ),
]
Statistic: TypeAlias = Annotated[
    _Statistic, BeforeValidator(_spelled_out, json_schema_input_type=str | _Statistic)
]

Combined.model_rebuild()
Gain.model_rebuild()
Logarithm.model_rebuild()


def _as_chains(value: Any) -> Any:
    """One chain of names is read as a list of one chain."""
    is_chain = isinstance(value, list | tuple) and value and isinstance(value[0], str)
    return [value] if is_chain else value


Chains: TypeAlias = Annotated[
    tuple[Chain, ...],
    Field(max_length=100),
    BeforeValidator(_as_chains, json_schema_input_type=Chain | tuple[Chain, ...]),
]
Bounds: TypeAlias = Annotated[dict[ArmName, float], Field(default_factory=dict, max_length=100)]


class Claim(Part):
    """A sentence that the study's results bear out or not. Of the statistic, every part must hold:

    rising, falling: each arm of a chain above, below the one before it; flat: each within `margin` of the
    one before it; above, below: an arm against a number; near: an arm within `margin` of a number.
    """

    name: Name
    says: Annotated[str, Field(min_length=1, max_length=1000)]
    paper: Annotated[
        str, Field(max_length=1000, description="the number of the literature, and where it stands")
    ] = ""
    statistic: Statistic
    unit: Annotated[str, Field(max_length=40, description="behind numbers: points, steps, …")] = ""
    rising: Chains = ()
    falling: Chains = ()
    flat: Chains = ()
    above: Bounds
    below: Bounds
    near: Bounds
    margin: Annotated[
        float | None, Field(gt=0, description="a smaller difference counts as none")
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any((self.rising, self.falling, self.flat, self.above, self.below, self.near)):
            raise ValueError("say what holds: rising, falling, flat, above, below or near")
        if bool(self.flat or self.near) != (self.margin is not None):
            raise ValueError("margin goes with flat and near, and is needed there")
        return self

    @property
    def is_flat(self) -> bool:
        """Whether all that it says is that something is the same, within the margin."""
        return not any((self.rising, self.falling, self.above, self.below))

    @property
    def arms(self) -> tuple[str, ...]:
        """All that it names, once each."""
        chains = itertools.chain(self.rising, self.falling, self.flat)
        named = [*itertools.chain(*chains), *self.above, *self.below, *self.near]
        reached = [
            statistic.best_of
            for statistic in parts(self.statistic)
            if isinstance(statistic, StepsToReach)
        ]
        return tuple(
            dict.fromkeys([*named, *(statistic for statistic in reached if statistic is not None)])
        )


def parts(statistic: Any) -> Iterator[Any]:
    """The statistic, and all that it is made of."""
    yield statistic
    match statistic:
        case Combined(of=pair):
            for one in pair:
                yield from parts(one)
        case Logarithm(of=one) | Gain(of=one):
            yield from parts(one)
