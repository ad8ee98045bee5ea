"""Equal tuning budgets as a study says them: which settings every arm tries, on which seeds."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from trainer.spec import Part, Seed

Setting: TypeAlias = Mapping[str, Any]

#: Of a study's trials, as many as it may have cells.
DEFAULT_SEEDS = (1000, 1001)
_OWN = frozenset({"seeds", "budget", "settings"})


def _allow_paths_beside(schema: dict[str, Any]) -> None:
    """Both ways of writing the paths are documents: the validator gathers them before it looks."""
    schema["additionalProperties"] = schema["properties"]["settings"]["additionalProperties"]
    schema.pop("required")


class Tuning(Part):
    """`{optimizer.lr: [0.01, 0.1], seeds: [100, 101], budget: 2}`: paths stand beside seeds and budget, or
    under `settings`."""

    model_config = ConfigDict(json_schema_extra=_allow_paths_beside)
    settings: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]],
        Field(min_length=1, description="dotted path → its candidates; all combinations"),
    ]
    seeds: Annotated[
        tuple[Seed, ...],
        Field(min_length=1, max_length=100, description="none of the study's own"),
    ] = DEFAULT_SEEDS
    budget: Annotated[
        int | None,
        Field(ge=1, description="settings that every arm tries; none: all combinations"),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        paths = {key: field for key, field in value.items() if key not in _OWN}
        rest = {key: field for key, field in value.items() if key in _OWN}
        settings = rest.pop("settings", {})
        return {**rest, "settings": {**settings, **paths}} if isinstance(settings, dict) else value

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"tuning seeds may appear once each, but got {list(self.seeds)}")
        count = math.prod(map(len, self.settings.values()))
        if self.budget is not None and self.budget > count:
            raise ValueError(f"there are {count} settings to try, but budget is {self.budget}")
        return self

    def candidates(self) -> tuple[dict[str, Any], ...]:
        """The settings that every arm tries, the same ones: all, or as many as the budget allows, chosen by
        their digests."""
        combined = [
            dict(zip(self.settings, values, strict=True))
            for values in itertools.product(*self.settings.values())
        ]
        if self.budget is None:
            return tuple(combined)
        chosen = sorted(range(len(combined)), key=lambda index: _digest(combined[index]))
        return tuple(combined[index] for index in sorted(chosen[: self.budget]))


def overlap(path: str, other: str) -> bool:
    """Whether a dotted path is the other, or inside of it."""
    shorter, longer = sorted((path, other), key=len)
    return longer == shorter or longer.startswith(f"{shorter}.")


def _digest(setting: Setting) -> bytes:
    return hashlib.blake2b(json.dumps(setting, sort_keys=True).encode()).digest()
