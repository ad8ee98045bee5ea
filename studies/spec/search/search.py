"""A search as a study says it: typed ranges over the fields of a spec, how many settings every arm tries, who proposes
them, and what stops a trial early."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from studies.spec.search.ranges import AnyRange, Range
from studies.spec.tuning import overlap
from trainer.spec import FieldValueError, Part, Seed

#: Proposals of the first trials are spread over the space by one sequence per range, which grow alike beyond that.
MOST_RANGES = 20
DEFAULT_SEEDS = (1000, 1001)
DEFAULT_FACTOR = 3
#: With four seeds the smallest p-value is 1/16: of fewer none is below 0.1, and a fifth is what can be saved.
FEWEST_PAIRED_SEEDS = 5


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
    after `first`, `first` × `factor`, … periods (ASHA, Li et al. 2018, arXiv 1810.05934). `wilcoxon`: it gets no further
    seeds once it is worse than the best of those at the seeds that it has, by a signed-rank test at 0.1, asked after each
    seed (Optuna's WilcoxonPruner, with seeds as instances): trainings are whole.
    """

    kind: Literal["median", "halving", "wilcoxon"]
    first: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            description="periods before a trial may be stopped; of wilcoxon seeds, and at least 4",
        ),
    ] = 1
    factor: Annotated[
        int | None, Field(strict=True, ge=2, le=100, description="of halving; left out: 3")
    ] = None
    finishers: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of each arm's trials that is trained to the end, at least",
        ),
    ] = 0.5

    @property
    def reduction(self) -> int:
        return DEFAULT_FACTOR if self.factor is None else self.factor

    @property
    def first_seeds(self) -> int | None:
        """At how many of its seeds a trial is trained whatever comes out, after the first batch; None: at all of them."""
        return max(self.first, FEWEST_PAIRED_SEEDS - 1) if self.kind == "wilcoxon" else None


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
        least = None if self.stop is None else self.stop.first_seeds
        if least is not None and len(self.seeds) <= least:
            detail = (
                f"wilcoxon compares trials seed by seed, and saves seeds: of {len(self.seeds)} all are trained, since none "
                f"is left out of the first {least}"
            )
            raise FieldValueError(detail, "seeds")
        if len(set(self.seeds)) < len(self.seeds):
            detail = f"search seeds may appear once each, but got {list(self.seeds)}"
            raise FieldValueError(detail, "seeds")
        for path in self.space:
            if above := next(
                (path_above for path_above in self.space if path.startswith(f"{path_above}.")), None
            ):
                raise FieldValueError(f"{path} is inside of {above}", "space", path)
        placed = {path for path, _ in self.ranges}
        if left := sorted(self.space.keys() - placed):
            detail = "its condition depends on its own value"
            raise FieldValueError(detail, "space", left[0], "when")
        return self

    @property
    def ranges(self) -> Sequence[tuple[str, AnyRange]]:
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
    while ready := [path for path, searched in left.items() if not _rests_on(searched.when, left)]:
        for path in ready:
            yield path, left.pop(path)


def _rests_on(condition: Mapping[str, Any], paths: Mapping[str, Any]) -> bool:
    return any(overlap(asked, path) for asked in condition for path in paths)
