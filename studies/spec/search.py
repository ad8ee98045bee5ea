"""A search as a study says it: typed ranges over the fields of a spec, how many settings every arm tries, and who
proposes them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from studies.spec.tuning import overlap
from trainer.spec import FieldValueError, Part, Seed

#: Proposals of the first trials are spread over the space by one sequence per range, which grow alike beyond that.
MOST_RANGES = 20
DEFAULT_SEEDS = (1000, 1001)
#: Values are rounded to so many digits of a range's width: nobody reads `lr=0.013482394823948`.
_DIGITS = 4
#: Finer steps are lost in the rounding of numbers: two of them may be the same.
_MOST_STEPS = 1_000_000

Condition: TypeAlias = Annotated[
    dict[str, Any],
    Field(
        default_factory=dict,
        description="dotted path → the value it must have, or a list of which it must have one; elsewhere the "
        "range is left out",
    ),
]


class FloatRange(Part):
    """Numbers between two, both included; `log`: as many below their geometric mean as above it."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: Annotated[float | None, Field(gt=0, description="only low, low + step, …")] = None
    when: Condition

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _refuse_empty(self.low, self.high, above=0.0 if self.log else None)
        if not math.isfinite(self.high - self.low):
            detail = f"{self.low:g} to {self.high:g} is wider than the largest number"
            raise FieldValueError(detail, "high")
        if self.log and self.step is not None:
            raise FieldValueError("a logarithmic range has no step", "step")
        largest = max(abs(self.low), abs(self.high))
        if self.step is not None and self.step * _MOST_STEPS < largest:
            detail = f"must be at least a millionth of {largest:g}, but got {self.step:g}"
            raise FieldValueError(detail, "step")
        return self

    def value_at(self, share: float) -> float:
        """At a share of the range in [0, 1)."""
        if self.step is not None:
            return self.settle(self.low + self.step * int(share * (self._steps + 1)))
        if self.log:
            return self.settle(math.exp(_between(math.log(self.low), math.log(self.high), share)))
        return self.settle(_between(self.low, self.high, share))

    def settle(self, value: float) -> float:
        """The nearest value that may be tried."""
        if self.step is not None:
            steps = min(max(round((value - self.low) / self.step), 0), self._steps)
            # 0.1 + 2 × 0.1 is 0.30000000000000004.
            return float(f"{self.low + self.step * steps:.12g}")
        unit = min(abs(value), self.high - self.low) if self.log and value else self.high - self.low
        decimals = _DIGITS - 1 - math.floor(math.log10(unit))
        return min(max(round(value, decimals), self.low), self.high)

    def list_values(self, most: int) -> Sequence[float]:
        """All of them, or as many as asked for."""
        if self.step is None:
            return [self.value_at(index / most) for index in range(most)]
        return [self.settle(self.low + self.step * n) for n in range(min(self._steps + 1, most))]

    def list_extremes(self) -> Sequence[float]:
        return (self.low, self.last)

    @property
    def last(self) -> float:
        """The largest value that may be tried."""
        return self.high if self.step is None else self.settle(self.high)

    @property
    def _steps(self) -> int:
        # 0.3 / 0.1 is 2.9999999999999996.
        return math.floor((self.high - self.low) / (self.step or 1.0) + 1e-9)


class IntRange(Part):
    """Whole numbers between two, both included."""

    kind: Literal["int"]
    low: Annotated[int, Field(strict=True, ge=-(2**31), le=2**31)]
    high: Annotated[int, Field(strict=True, ge=-(2**31), le=2**31)]
    log: bool = False
    step: Annotated[int, Field(strict=True, ge=1, description="only low, low + step, …")] = 1
    when: Condition

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _refuse_empty(self.low, self.high, above=0 if self.log else None)
        if self.log and self.step != 1:
            raise FieldValueError("a logarithmic range has no step", "step")
        return self

    def value_at(self, share: float) -> int:
        """At a share of the range in [0, 1)."""
        if self.log:
            # Each number has the share of what is rounded to it.
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return self.settle(round(math.exp(_between(low, high, share))))
        return self.low + self.step * int(share * (self._steps + 1))

    def settle(self, value: int) -> int:
        """The nearest value that may be tried."""
        return self.low + self.step * min(max((value - self.low) // self.step, 0), self._steps)

    def list_values(self, most: int) -> Sequence[int]:
        """All of them, or as many as asked for."""
        return [self.low + self.step * n for n in range(min(self._steps + 1, most))]

    def list_extremes(self) -> Sequence[int]:
        """All of few numbers: which of them fit, such as groups into channels, doesn't show at the ends."""
        return self.list_values(32) if self._steps < 32 else (self.low, self.last)

    @property
    def last(self) -> int:
        """The largest value that may be tried."""
        return self.low + self.step * self._steps

    @property
    def _steps(self) -> int:
        return (self.high - self.low) // self.step


class Choice(Part):
    """Any of some values, which may be whole parts of a spec."""

    kind: Literal["categorical"]
    values: Annotated[list[Any], Field(min_length=2, max_length=100)]
    when: Condition

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if any(value in self.values[:index] for index, value in enumerate(self.values)):
            raise FieldValueError("values may appear once each", "values")
        return self

    def value_at(self, share: float) -> Any:
        """At a share of the values in [0, 1)."""
        return self.values[int(share * len(self.values))]

    def list_values(self, most: int) -> Sequence[Any]:
        """All of them, or as many as asked for."""
        return self.values[:most]

    def list_extremes(self) -> Sequence[Any]:
        return self.values


Range: TypeAlias = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class QuasiRandom(Part):
    """Points spread evenly over the space, whatever comes out: a Halton sequence (1960) with a random shift (Cranley &
    Patterson 1976). All arms try the same ones, as far as they have the same ranges."""

    kind: Literal["quasi_random"]
    seed: Seed = 0

    @property
    def first(self) -> int | None:
        """How many trials don't depend on the results of others; None: all."""
        return None


class Tpe(Part):
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) after some quasi-random trials, for each arm by
    itself."""

    kind: Literal["tpe"] = "tpe"
    seed: Seed = 0
    startup: Annotated[int, Field(strict=True, ge=1, description="quasi-random trials first")] = 10
    batch: Annotated[
        int,
        Field(
            strict=True, ge=1, le=100,
            description="trials of an arm that are proposed together, and may be trained at once",
        ),
    ] = 4  # fmt: skip
    optuna: Annotated[
        str,
        Field(
            default_factory=lambda: installed_version("optuna"),
            description="its version; that of the service if left out, and no other is accepted",
        ),
    ]

    @property
    def first(self) -> int | None:
        """How many trials don't depend on the results of others; None: all."""
        return self.startup


SamplerSpec: TypeAlias = Annotated[Tpe | QuasiRandom, Field(discriminator="kind")]


class StopRule(Part):
    """Stops a trial that is behind those of its own arm, at the same seed and after as many evaluation periods. Compared are
    trials of earlier batches alone: so what is stopped doesn't depend on who is faster.

    `median`: below the median of them (Golovin et al. 2017), after every period. `halving`: not among the best 1/`factor`
    after `first`, `first` × `factor`, … periods (ASHA, Li et al. 2018, arXiv 1810.05934).
    """

    kind: Literal["median", "halving"]
    first: Annotated[
        int, Field(strict=True, ge=1, description="periods before a trial may be stopped")
    ] = 1
    factor: Annotated[int, Field(strict=True, ge=2, le=100, description="of halving")] = 3
    finishers: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of each arm's trials that is trained to the end, at least",
        ),
    ] = 0.5


class Search(Part):
    """Every arm tries as many settings, found by itself, on seeds of their own."""

    space: Annotated[
        dict[str, Range],
        Field(min_length=1, max_length=MOST_RANGES, description="dotted path → its range"),
    ]
    trials: Annotated[
        int, Field(strict=True, ge=1, le=1000, description="settings that every arm tries")
    ] = 20
    seeds: Annotated[
        tuple[Seed, ...],
        Field(min_length=1, max_length=100, description="none of the study's own"),
    ] = DEFAULT_SEEDS
    sampler: Annotated[SamplerSpec, Field(default_factory=lambda: Tpe.model_validate({}))]

    stop: Annotated[
        StopRule | None,
        Field(description="stops trials early; without it, all are trained to the end"),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.stop is not None and self.sampler.first is None:
            detail = (
                "trials are compared with those of earlier batches, and quasi_random has only one"
            )
            raise FieldValueError(detail, "stop")
        if self.stop is not None and self.first_trials == self.trials:
            detail = (
                f"trials are compared with those of earlier batches, but the first {self.first_trials}, "
                f"all of them, are one batch: more trials than the sampler's startup are needed"
            )
            raise FieldValueError(detail, "stop")
        if len(set(self.seeds)) < len(self.seeds):
            detail = f"search seeds may appear once each, but got {list(self.seeds)}"
            raise FieldValueError(detail, "seeds")
        for path in self.space:
            if above := next((one for one in self.space if path.startswith(f"{one}.")), None):
                raise FieldValueError(f"{path} is inside of {above}", "space", path)
        placed = {path for path, _ in self.ranges}
        if left := sorted(self.space.keys() - placed):
            detail = "its condition rests on its own value"
            raise FieldValueError(detail, "space", left[0], "when")
        return self

    @property
    def ranges(self) -> Sequence[tuple[str, FloatRange | IntRange | Choice]]:
        """In an order that is the same wherever the document was stored: SQL's JSON keeps none. Each comes after those
        that its condition rests on."""
        return tuple(_in_order(self.space))

    def batch_of(self, number: int) -> int:
        """The number of the trial with which the batch of this one begins."""
        later = number - self.first_trials
        return 0 if later < 0 else number - later % self.batch

    @property
    def batch(self) -> int:
        """How many trials of an arm are proposed together, after the first."""
        return self.sampler.batch if isinstance(self.sampler, Tpe) else self.trials

    @property
    def first_trials(self) -> int:
        """How many of each arm don't depend on the results of others."""
        return min(self.sampler.first or self.trials, self.trials)


def _in_order(space: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of a circle are left out."""
    left = dict(sorted(space.items()))
    while ready := [path for path, one in left.items() if not _rests_on(one.when, left)]:
        for path in ready:
            yield path, left.pop(path)


def _rests_on(condition: Mapping[str, Any], paths: Mapping[str, Any]) -> bool:
    return any(overlap(asked, path) for asked in condition for path in paths)


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _refuse_empty(low: float, high: float, above: float | None) -> None:
    if low >= high:
        raise FieldValueError(f"must be above low, which is {low:g}, but got {high:g}", "high")
    if above is not None and low <= above:
        raise FieldValueError(f"must be above 0 in a logarithmic range, but got {low:g}", "low")
