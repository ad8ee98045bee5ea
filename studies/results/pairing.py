"""Which jobs of two groups are pairs, and why others have no partner."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from store.results import ComparedJob
from studies.comparison import FrozenModel, find_varying
from studies.results.keys import Key, KeyReader, Settings, group_by_key, is_measured
from studies.spec import leaves
from studies.stats import listed, score

#: A group's job and the reference's.
Pair: TypeAlias = tuple[ComparedJob, ComparedJob]

#: Of so many settings of a group the nearest of the reference is looked for, among so many.
_MOST_EXPLAINED = 10
_MOST_SETTINGS = 50


class Unpaired(FrozenModel):
    """Jobs of a group that have no partner in the reference, and why; `fields` of the spec by which they could be
    compared as well."""

    jobs: int
    why: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pairing:
    """In the order of the group's jobs."""

    pairs: Sequence[Pair]
    unpaired: Sequence[Unpaired]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Jobs that differ in their specs or seeds. `repeated`: how many others they stand for; `environments`: in what
    these ran differently."""

    jobs: Sequence[ComparedJob]
    repeated: int
    environments: tuple[str, ...]


def drop_repeated(jobs: Sequence[ComparedJob], metric: str, read_key: KeyReader) -> Distinct:
    """Of jobs with one spec and seed the newest that has a value, else the newest: trained twice, a spec gives the same
    result, which counted twice would shrink the interval for nothing."""
    alike = group_by_key(jobs, (), read_key).values()
    chosen = [
        max(same, key=lambda job: (score(job, metric).value is not None, job.job_id))
        for same in alike
    ]
    # In another environment the result may be another one.
    varying = dict.fromkeys(
        what for same in alike if len(same) > 1 for what, _ in find_varying(same)
    )
    return Distinct(
        sorted(chosen, key=lambda job: job.job_id), len(jobs) - len(chosen), tuple(varying)
    )


def pair_jobs(
    own: Mapping[Key, Sequence[ComparedJob]], others: Mapping[Key, Sequence[ComparedJob]]
) -> Pairing:
    """A group's jobs and the reference's, by their keys; none of them is in more than one pair."""
    settings = dict.fromkeys(key.settings for key in others)
    seeds = {(key.settings, key.seed) for key in others}
    explained: dict[Settings, tuple[str, tuple[str, ...]]] = {}
    pairs: list[Pair] = []
    reasons: Counter[tuple[str, tuple[str, ...]]] = Counter()
    lacking: list[int] = []
    for key, same in own.items():
        partners = others.get(key, [])
        if len(same) == len(partners) == 1:
            pairs.append((same[0], partners[0]))
        elif partners:
            # Which of them belongs to which is a choice that could be made by the result.
            fields = _list_differing(same if len(same) > 1 else partners)
            reasons[f"several at one seed differ only in {listed(fields)}", fields] += len(same)
        elif (key.settings, key.seed) in seeds:
            reasons["their data are split by another seed", ()] += len(same)
        elif key.settings in settings:
            lacking += [key.seed] * len(same)
        else:
            if len(explained) < _MOST_EXPLAINED and key.settings not in explained:
                nearest = islice(settings, _MOST_SETTINGS)
                explained[key.settings] = _explain_settings(key.settings, nearest)
            reasons[explained.get(key.settings, ("they differ in their settings", ()))] += len(same)
    if lacking:
        numbers = [str(seed) for seed in sorted(set(lacking))]
        named = f"seed{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
        reasons[f"the reference has no job with {named}", ()] += len(lacking)
    unpaired = (
        Unpaired(jobs=number, why=why, fields=fields)
        for (why, fields), number in reasons.most_common()
    )
    return Pairing(pairs, tuple(unpaired))


def _explain_settings(own: Settings, others: Iterable[Settings]) -> tuple[str, tuple[str, ...]]:
    """In what they differ from the nearest of the others; and the fields by which they could be compared."""
    differing = min(({name for name, _ in own ^ other} for other in others), key=len, default=set())
    measured = sorted(filter(is_measured, differing))
    if measured:
        verb = "differs" if len(measured) == 1 else "differ"
        return f"they were not measured in the same way: {listed(measured)} {verb}", ()
    fields = tuple(sorted(differing))
    return f"they differ in {listed(fields)}", fields


def _list_differing(jobs: Sequence[ComparedJob]) -> tuple[str, ...]:
    specs: list[Mapping[str, Any]] = [leaves(job.spec) for job in jobs]
    first, absent = specs[0], object()
    return tuple(
        path
        for path in dict.fromkeys(path for spec in specs for path in spec)
        if any(spec.get(path, absent) != first.get(path, absent) for spec in specs)
    )
