"""The ranges of a search: numbers, whole numbers, or any of some values, and what is tried of each."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from trainer.spec import FieldValueError, Part

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


AnyRange: TypeAlias = FloatRange | IntRange | Choice
Range: TypeAlias = Annotated[AnyRange, Field(discriminator="kind")]


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _refuse_empty(low: float, high: float, above: float | None) -> None:
    if low >= high:
        raise FieldValueError(f"must be above low, which is {low:g}, but got {high:g}", "high")
    if above is not None and low <= above:
        raise FieldValueError(f"must be above 0 in a logarithmic range, but got {low:g}", "low")
