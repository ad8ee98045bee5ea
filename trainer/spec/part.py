"""What every piece of a spec is made of: the frozen base, and the types of numbers, names and durations."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# A letter or digit first, so that a name is never a path, an option or a hidden file.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._+=:·-]{0,99}$"
NAME_RULE = "must begin with a letter or digit and have at most 100 letters, digits, spaces and . _ + = : · -"
#: Of metrics and claims, which are columns, addresses and keys in MLflow.
KEY_PATTERN = r"^[a-z][a-z0-9_]{0,99}$"
KEY_RULE = (
    "must begin with a lower-case letter and have at most 100 lower-case letters, digits and _"
)
Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Whole: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Positive: TypeAlias = Annotated[float, Field(strict=True, gt=0)]
NotNegative: TypeAlias = Annotated[float, Field(strict=True, ge=0)]
Fraction: TypeAlias = Annotated[float, Field(strict=True, ge=0, lt=1)]
Seed: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**31)]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip())
    if match is None:
        raise ValueError(f"a duration is seconds or like 90s, 30m, 2h, 1d but got {value!r}")
    return float(match[1]) * _SECONDS[match[2]]


Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=float | str),
    Field(strict=True, gt=0, le=366 * 86400, description="seconds, or like 90s, 30m, 2h, 1d"),
]


def describe_duration(seconds: float) -> str:
    """`42 s`, `5 min`, `3 h 20 min`, `2 d 4 h`."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if seconds < 60:
        return f"{max(0, int(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02d} min" if hours < 24 else f"{days} d {hours % 24} h"


#: What every evaluation period records; the test split is not among them: it stays sealed.
Metric: TypeAlias = Literal[
    "train_loss", "train_cost", "train_accuracy", "val_loss", "val_accuracy"
]


class FieldValueError(ValueError):
    """A validator of a whole part raises it where one of its members is wrong: `location` leads there."""

    def __init__(self, message: str, *location: str | int) -> None:
        super().__init__(message)
        self.location = location


class Part(BaseModel):
    """A frozen piece of a spec: no unknown keys, no NaN, no infinity.

    `pitfalls` is for the catalogue: what a person should know before choosing it.
    """

    pitfalls: ClassVar[tuple[str, ...]] = ()
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InstalledPackage(Part):
    """A package of plugins as it was installed; the digest is of its files."""

    package: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+!_-]{1,100}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.digest})"


#: What a plugin's function takes by keyword.
OptionValue: TypeAlias = Annotated[str, Field(max_length=1000)] | bool | int | float | None


class FromPlugin(Part):
    """A function of a package of the installation's own, which its settings name."""

    name: Annotated[str, Field(pattern=r"^plugin:[a-z][a-z0-9_]{0,39}$")]
    installed: Annotated[
        InstalledPackage | None, Field(description="the package; filled in at submission")
    ] = None

    @property
    def entry(self) -> str:
        return self.name.split(":", 1)[1]


class PluginWithOptions(FromPlugin):
    """A function that can be asked for more than one thing."""

    options: Annotated[
        Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")], OptionValue],
        Field(max_length=32, description="what the function takes by keyword"),
    ] = {}
