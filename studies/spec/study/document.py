"""The fields of a study document, and what must hold between them."""

import itertools
import operator
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from studies.spec.claims import Claim
from studies.spec.panels import Panel
from studies.spec.search import Search
from studies.spec.tuning import Tuning, overlap
from studies.spec.until_decided import FIRST_LOOK, MOST_LOOKS, MOST_SEEDS, PATTERN, declare_looks
from trainer.problems import did_you_mean, listed
from trainer.spec import (
    KEY_PATTERN,
    FieldValueError,
    InstalledPackage,
    Name,
    Part,
    Seed,
    Upgrades,
    upgrade,
)

VERSION = 1
UPGRADES: Upgrades = {}

#: With fewer paired seeds there are no p-values and no verdicts.
ENOUGH_SEEDS = FIRST_LOOK

Splits: TypeAlias = Literal["fixed", "resampled", "subsets"]
#: How looks share out the chance of a false claim: O'Brien and Fleming's type keeps nearly all for the last one; Kim and DeMets'
#: function, the square of the seeds' share, lets large differences be found at the first.
Spending: TypeAlias = Literal["obrien_fleming", "kim_demets"]
Metric = Annotated[str, Field(pattern=KEY_PATTERN)]


def _without_default(schema: dict[str, Any]) -> None:
    """A placeholder for another field of the document; not a valid value itself."""
    schema.pop("default")


def _with_sentence(schema: dict[str, Any]) -> None:
    """It is written out before the fields are read."""
    schema["anyOf"].append({"type": "string", "pattern": PATTERN})


def _is_none(value: Any) -> bool:
    return value is None


class Threshold(Part):
    """A value of a curve: how many steps did it take to reach it?"""

    metric: Literal["train_loss", "train_accuracy", "val_loss", "val_accuracy"] = "val_accuracy"
    value: Annotated[float, Field(description="reached: at least an accuracy, at most a loss")]


class StudySpec(Part):
    """A base spec × variants × matrix × seeds, with a baseline and a metric of record."""

    version: Literal[1] = 1
    project: Name = "default"
    name: Name
    description: Annotated[str, Field(max_length=10_000)] = ""
    base: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="what all variants share: a partial job spec"),
    ]
    variants: Annotated[
        dict[Name, dict[str, Any]],
        Field(min_length=1, max_length=1000, description="name → what it changes in the base"),
    ]
    matrix: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]],
        Field(default_factory=dict, description="dotted path → its values; all combinations"),
    ]
    include: Annotated[
        list[dict[str, Any]],
        Field(default_factory=list, description="further points: {variant: name, path: value, …}"),
    ]
    exclude: Annotated[
        list[dict[str, Any]],
        Field(
            default_factory=list,
            max_length=1000,
            description="combinations left out: {variant: …, path: …}",
        ),
    ]
    seeds: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=MOST_SEEDS)]
        | Annotated[list[Seed], Field(min_length=1, max_length=MOST_SEEDS)],
        Field(
            description="their number (0, 1, …), a list, or a limit",
            json_schema_extra=_with_sentence,
        ),
    ] = ENOUGH_SEEDS
    baseline: Annotated[
        Name,
        Field(
            description="the variant all others are compared to; without it, the first one",
            json_schema_extra=_without_default,
        ),
    ] = ""
    metric: Annotated[
        Metric,
        Field(
            description="the metric of record",
            examples=["test_accuracy", "test_loss", "best_val_accuracy", "best_val_loss", "epochs"],
        ),
    ] = "test_accuracy"
    looks: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=ENOUGH_SEEDS, le=MOST_SEEDS)], ...],
        Field(
            max_length=MOST_LOOKS,
            description="numbers of seeds after which the study is analysed; the significance level is divided between them (Lan & DeMets 1983)",
        ),
    ] = ()
    until: Annotated[
        Literal["decided"] | None,
        Field(description="it grows automatically"),
    ] = None
    margin: Annotated[
        float | None,
        Field(gt=0, description="a smaller difference doesn't matter: variants can be equivalent"),
    ] = None
    threshold: Threshold | None = None
    splits: Annotated[
        Splits,
        Field(
            description="fixed: the result is for this split of the data; resampled: seed k also draws the "
            "split (the same in every variant), and intervals account for the overlap; subsets: seed "
            "k draws another `train_size` training examples, tested on the same"
        ),
    ] = "fixed"
    declared: Annotated[
        dict[Name, Annotated[str, Field(min_length=1, max_length=1000)]],
        Field(
            default_factory=dict,
            max_length=100,
            description="kind of difference between variants → why it doesn't matter; else it withholds "
            "the ranking",
        ),
    ]
    tune: Annotated[
        Tuning | None,
        Field(
            description="settings that every arm tries on other seeds, before its seeds are trained"
        ),
    ] = None
    search: Annotated[
        Search | None,
        Field(
            description="instead of `tune`: ranges in which every arm searches for its setting, with the same number of trials"
        ),
    ] = None
    # Left out of documents at its default, as in the documents from before it was there.
    pretrain: Annotated[
        dict[str, Any] | None,
        Field(
            exclude_if=_is_none,
            description="what it changes in the base: a training before the arms, one for each seed, from whose weights "
            "the arms of that seed begin; none of the comparison",
        ),
    ] = None
    claims: Annotated[
        tuple[Claim, ...],
        Field(max_length=50, description="what the results should show; each gets a verdict"),
    ] = ()
    figure: Annotated[
        tuple[Panel, ...],
        Field(max_length=12, description="panels of the figure that the report begins with"),
    ] = ()
    models: Annotated[
        Literal["none", "best", "all"],
        Field(description="which jobs' models go to MLflow; best: of each variant, by validation"),
    ] = "best"

    # Left out of documents at its default, as in the documents from before it was there.
    plugins: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^(model|metric):[a-z][a-z0-9_]{0,59}$")],
            InstalledPackage,
        ],
        Field(
            default_factory=dict,
            exclude_if=operator.not_,
            description="the packages of the plugins that it trains; filled in when it is submitted",
        ),
    ]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """Brings the version up; without a baseline the first variant is it, and without seeds the first
        look says how many."""
        if not isinstance(value, dict):
            return value
        value = upgrade(value, UPGRADES, VERSION)
        variants = value.get("variants")
        if "baseline" not in value and isinstance(variants, dict) and variants:
            value = {**value, "baseline": next(iter(variants))}
        value = declare_looks(value)
        looks = value.get("looks")
        if "seeds" not in value and isinstance(looks, list | tuple) and looks:
            value = {**value, "seeds": looks[0]}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.baseline not in self.variants:
            detail = (
                f"must be one of the variants {listed(self.variants)}, but got {self.baseline!r}"
            )
            raise FieldValueError(
                f"{detail}{did_you_mean(self.baseline, self.variants)}", "baseline"
            )
        if isinstance(self.seeds, list) and len(set(self.seeds)) < len(self.seeds):
            raise FieldValueError(f"seeds may appear once each, but got {self.seeds}", "seeds")
        if any(look >= later for look, later in itertools.pairwise(self.looks)):
            raise FieldValueError(f"looks must increase, but got {list(self.looks)}", "looks")
        self._refuse_until()
        names = [claim.name for claim in self.claims]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            detail = f"names of claims must be unique, but got {', '.join(repeated)} again"
            raise FieldValueError(detail, "claims")
        return self

    def _refuse_until(self) -> None:
        if self.until is None:
            return
        if len(self.looks) < 2:
            raise FieldValueError(
                "a study that grows automatically needs at least two looks", "looks"
            )
        if len(self.variants) < 2 and not self.claims:
            raise FieldValueError("one variant: there is nothing to decide", "until")

    @model_validator(mode="after")
    def _tuned_elsewhere(self) -> Self:
        if self.tune is not None and self.search is not None:
            raise FieldValueError("a study has either tune or search", "search")
        if self.tune is not None:
            self._refuse_shared_seeds(self.tune.seeds, "tune", "tuning")
            self._refuse_set_elsewhere(self.tune.settings, self.matrix, "tune")
        if self.search is not None:
            self._refuse_shared_seeds(self.search.seeds, "search", "a search")
            further = {path: None for entry in self.include for path in entry}
            elsewhere = {**self.matrix, **further}
            self._refuse_set_elsewhere(self.search.space, elsewhere, "search", "space")
        return self

    def _refuse_shared_seeds(self, seeds: Collection[int], place: str, what: str) -> None:
        if shared := sorted(set(seeds) & set(self.list_all_seeds())):
            detail = f"{what} needs other seeds than the study's, but both have {shared}"
            raise FieldValueError(detail, place, "seeds")

    def _refuse_set_elsewhere(
        self, paths: Iterable[str], elsewhere: Iterable[str], *place: str
    ) -> None:
        for path in paths:
            if other := next((set_path for set_path in elsewhere if overlap(set_path, path)), None):
                where = "the matrix" if other in self.matrix else "include"
                detail = f"{path} is tuned, but {other} is in {where}"
                raise FieldValueError(detail, *place, path)

    @property
    def tuned_paths(self) -> tuple[str, ...]:
        """What every arm finds out for itself."""
        if self.search is not None:
            return tuple(sorted(self.search.space))
        return tuple(self.tune.settings) if self.tune is not None else ()

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds) if isinstance(self.seeds, int) else self.seeds)

    @property
    def spending(self) -> Spending:
        """Whoever adds seeds by hand may stop before the last look; a study that grows by itself has them cheaper the earlier
        it is decided."""
        return "obrien_fleming" if self.until is None else "kim_demets"

    @property
    def most_seeds(self) -> int:
        """How many it may come to have by itself."""
        count = len(self.seed_list)
        return max(count, self.looks[-1]) if self.until is not None else count

    def list_all_seeds(self) -> tuple[int, ...]:
        """With those that it may come to have by itself."""
        return self.add_seeds(self.most_seeds - len(self.seed_list)).seed_list

    def add_seeds(self, count: int) -> Self:
        """Beyond the largest one, not into gaps: a seed that somebody left out on purpose stays out."""
        following = max(self.seed_list) + 1
        return self.with_seeds([*self.seed_list, *range(following, following + count)])

    def with_seeds(self, seeds: list[int]) -> Self:
        """0, 1, …, n - 1 is written as n: the study reads as if it had been submitted with that many."""
        is_default = seeds == list(range(len(seeds)))
        return self.model_copy(update={"seeds": len(seeds) if is_default else seeds})
