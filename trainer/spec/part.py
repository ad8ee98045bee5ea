"""What every piece of a spec is made of: the frozen base and the number types."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

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
