"""What can be said of a job or a study before it is trained: defaults taken, whether a verdict will be
possible."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from studies.spec import ENOUGH_SEEDS, StudySpec
from studies.stats import count, listed
from trainer.spec import JobSpec

#: What decides about a result and is easily left out.
_FIELDS = (
    "dataset.val_fraction", "optimizer.kind", "optimizer.lr", "schedule.kind", "training.epochs",
    "training.batch_size", "early_stopping.kind", "resources.timeout",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TakenDefault:
    """A field that the document leaves out, and the value that it therefore has; `arms`: where, if not
    everywhere."""

    field: str
    value: Any
    arms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerdictOutlook:
    """Whether the study can have a verdict, and why or why not."""

    possible: bool
    sentence: str


def verdict_outlook(study: StudySpec) -> VerdictOutlook:
    seeds = len(study.seed_list)
    if len(study.variants) < 2:
        return VerdictOutlook(False, "one variant: there is nothing to compare it with")
    if seeds < ENOUGH_SEEDS:
        said = f"{count(seeds, 'seed')}: intervals only, a verdict needs {ENOUGH_SEEDS}"
        return VerdictOutlook(False, said)
    if study.looks:
        looks = listed([str(look) for look in study.looks])
        if study.until is not None:
            what = "claims" if study.claims else "comparisons"
            said = (
                f"{seeds} to {study.most_seeds} seeds: after {looks} the {what} are looked at, and the study goes on "
                "until each is decided"
            )
            return VerdictOutlook(True, said)
        return VerdictOutlook(True, f"a verdict is possible at each look: after {looks} seeds")
    return VerdictOutlook(True, f"a verdict is possible: {count(seeds, 'seed')}")


def growth_notes(study: StudySpec, planned: Sequence[int]) -> Iterator[str]:
    """What it means for the verdict that a study has other seeds than it was planned with."""
    seeds = study.seed_list
    looks = listed([str(look) for look in study.looks])
    if not study.looks and not set(seeds) <= set(planned):
        yield (
            f"The verdict is exploratory from now on: {count(len(planned), 'seed')} were planned, and the "
            f"study has {len(seeds)}. A study that declares `looks` beforehand may grow to them."
        )
    elif study.looks and len(seeds) not in study.looks:
        yield (
            f"The verdict is exploratory while the study has {count(len(seeds), 'seed')}: its looks are "
            f"after {looks} seeds."
        )


def repeat_notes(same: Sequence[tuple[int, str, int]]) -> Iterator[str]:
    """What could be done instead of submitting a study again; `same`: id, status and how many jobs failed or
    were cancelled, of the studies that train the same, newest first."""
    # The newest alone: of five repetitions one wants to continue the last.
    for study_id, status, unsuccessful in same[:1]:
        retry = f" Its {count(unsuccessful, 'job')} that failed or were cancelled can be retried."
        yield (
            f"Study {study_id} trains the same (it is {status}): to add seeds to it, extend it."
            f"{retry if unsuccessful else ''}"
        )


def study_defaults(study: StudySpec, document: Mapping[str, Any]) -> Iterator[TakenDefault]:
    """Of the study itself."""
    if "seeds" not in document:
        yield TakenDefault("seeds", study.seeds)
    if "baseline" not in document:
        yield TakenDefault("baseline", study.baseline)
    if "metric" not in document:
        yield TakenDefault("metric", study.metric)


def spec_defaults(specs: Sequence[tuple[str, JobSpec]]) -> Iterator[TakenDefault]:
    """Of what the arms train: name and spec of each."""
    for field in _FIELDS:
        arms: dict[Any, list[str]] = {}
        for name, spec in specs:
            value = _default_at(spec, field.split("."))
            if value is not None:
                arms.setdefault(value, []).append(name)
        for value, names in arms.items():
            yield TakenDefault(field, value, () if len(names) == len(specs) else tuple(names))


def _default_at(part: BaseModel, path: Sequence[str]) -> Any:
    """The value at the path if the document didn't say it; None if it did, or if there is no such field."""
    said = True
    for key in path:
        if not hasattr(part, key):
            return None
        # A part that was left out has defaults throughout, whatever its own `model_fields_set` says.
        said = said and key in part.model_fields_set
        part = getattr(part, key)
    return None if said else part
