"""Which jobs of two groups are pairs: equal in their seed, their data and all of their settings but those that are compared.

What changes nothing of what is learned (project, resources, diagnostics, evaluations) may differ. The data, their cut
and the task never do: values that were measured on different examples are no pair, whatever is compared.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from store.query import spec_fields
from store.results import ComparedJob
from studies.comparison import FrozenModel, is_covered
from studies.spec import leaves
from studies.stats import listed, score

#: A group's job and the reference's.
Pair: TypeAlias = tuple[ComparedJob, ComparedJob]

_ALWAYS_EQUAL = ("dataset.name", "dataset.split_seed", "task.kind")
#: Besides what `is_covered` leaves out anyway.
_NOT_LEARNED = "training.checkpoint_seconds"
#: What a study may let follow the job's seed: they are no settings.
_CUT = ("split_seed", "subset_seed")
#: So many settings of the reference are looked through for the nearest.
_MOST_SETTINGS = 50


class Key(NamedTuple):
    """Equal where two jobs are a pair; `cut`: the seeds that cut the data."""

    settings: str
    seed: int
    cut: tuple[Any, ...]


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


def find_free(names: Iterable[str]) -> tuple[str, ...]:
    """The paths of a spec in which jobs may differ that are grouped by these fields of a query.

    Of a list each option has a path of its own: `regularization.dropout`.
    """
    return tuple(path for name in names if name in spec_fields() for path in _find_paths(name))


def list_declared(jobs: Iterable[ComparedJob]) -> set[str]:
    """The paths in which their variants differ from the base of their study, and those that it tuned."""
    documents = {json.dumps([job.declared, job.tuned], sort_keys=True) for job in jobs}
    paths: set[str] = set()
    for declared, tuned in map(json.loads, documents):
        paths |= set(leaves(declared or {})) | set(tuned or {})
    return paths - {""}


def drop_repeated(jobs: Sequence[ComparedJob], metric: str) -> list[ComparedJob]:
    """Of jobs with one spec and seed the newest that has a value, else the newest: trained twice, a spec gives the same
    result, which counted twice would shrink the interval for nothing."""
    chosen: dict[Key, ComparedJob] = {}
    keys = _read_keys(jobs, ())
    for job in sorted(jobs, key=lambda job: (score(job, metric).value is not None, job.job_id)):
        chosen[keys[job.job_id]] = job
    return sorted(chosen.values(), key=lambda job: job.job_id)


def pair_jobs(
    jobs: Sequence[ComparedJob], reference: Sequence[ComparedJob], free: Sequence[str]
) -> Pairing:
    """Jobs that differ in `free` at most; none of them is in more than one pair."""
    own, others = _group_by_key(jobs, free), _group_by_key(reference, free)
    settings = {key.settings for key in others}
    seeds = {(key.settings, key.seed) for key in others}
    find_nearest = cache(_make_nearest(settings))
    pairs: list[Pair] = []
    reasons: Counter[tuple[str, tuple[str, ...]]] = Counter()
    lacking: list[int] = []
    for key, same in own.items():
        partners = others.get(key, [])
        if len(same) == len(partners) == 1:
            pairs.append((same[0], partners[0]))
        elif partners:
            # Which of them belongs to which is a choice that could be made by the result.
            alike = same if len(same) > 1 else partners
            reasons["several at one seed differ only in {}", _list_differing(alike)] += len(same)
        elif key.settings not in settings:
            reasons["they differ in {}", find_nearest(key.settings)] += len(same)
        elif (key.settings, key.seed) in seeds:
            reasons["they differ in the cut of the data", ()] += len(same)
        else:
            lacking += [key.seed] * len(same)
    if lacking:
        numbers = [str(seed) for seed in sorted(set(lacking))]
        named = f"seed{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
        reasons[f"there is no job beside them at {named}", ()] += len(lacking)
    unpaired = (
        Unpaired(jobs=number, why=why.format(listed(fields)), fields=fields)
        for (why, fields), number in reasons.most_common()
    )
    return Pairing(pairs, tuple(unpaired))


def _find_paths(name: str) -> Iterator[str]:
    head, is_list, inside = spec_fields()[name].path.partition("[*]")
    path = ".".join(re.findall(r'"([^"]+)"', head))
    if not is_list or name in (path, f"{path}.kind"):
        yield path if is_list else name
    elif kind := re.search(r'"kind" == "([^"]+)"', inside):
        yield f"{path}.{kind[1]}"
    else:
        # `regularization.p`: of every kind that has it.
        option = name.removeprefix(path)
        for other in spec_fields():
            if other.startswith(f"{path}.") and other.endswith(option) and other != name:
                yield other.removesuffix(option)


def _group_by_key(
    jobs: Sequence[ComparedJob], free: Sequence[str]
) -> Mapping[Key, list[ComparedJob]]:
    keys = _read_keys(jobs, free)
    grouped: dict[Key, list[ComparedJob]] = defaultdict(list)
    for job in jobs:
        grouped[keys[job.job_id]].append(job)
    return grouped


def _read_keys(jobs: Iterable[ComparedJob], free: Sequence[str]) -> dict[int, Key]:
    """By job."""
    open_paths = (_NOT_LEARNED, *(path for path in free if path not in _ALWAYS_EQUAL))
    # Thousands of specs have the same hundred paths, and but for their seeds there are few different ones.
    is_free = cache(lambda path: is_covered(path, open_paths))
    prune = cache(lambda text: json.dumps(_prune(json.loads(text), "", is_free), sort_keys=True))
    cut = [name for name in _CUT if f"dataset.{name}" not in open_paths]
    return {
        job.job_id: Key(
            prune(_write_seedless(job.spec)),
            job.seed,
            tuple(job.spec["dataset"].get(name) for name in cut),
        )
        for job in jobs
    }


def _write_seedless(spec: Mapping[str, Any]) -> str:
    dataset = {name: value for name, value in spec["dataset"].items() if name not in _CUT}
    return json.dumps({**spec, "seed": None, "dataset": dataset})


def _prune(value: Any, path: str, is_free: Callable[[str], bool]) -> Any:
    """Without what lies at free paths."""
    match value:
        case dict():
            inside = ((key, f"{path}.{key}" if path else key, one) for key, one in value.items())
            return {key: _prune(one, at, is_free) for key, at, one in inside if not is_free(at)}
        case list():
            elements = ((_place_element(one, path), one) for one in value)
            return [
                _prune(one, at, is_free) for at, one in elements if at == path or not is_free(at)
            ]
        case _:
            return value


def _place_element(element: Any, path: str) -> str:
    kind = element.get("kind") if isinstance(element, dict) else None
    return f"{path}.{kind}" if kind else path


def _make_nearest(others: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """A function of settings: in what they differ from the nearest of the others."""
    flat = [leaves(json.loads(text)) for text in sorted(others)[:_MOST_SETTINGS]]

    def find(settings: str) -> tuple[str, ...]:
        own = leaves(json.loads(settings))
        return min((_list_paths([own, other]) for other in flat), key=len)

    return find


def _list_differing(jobs: Sequence[ComparedJob]) -> tuple[str, ...]:
    return _list_paths([leaves(job.spec) for job in jobs])


def _list_paths(flat: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    first = flat[0]
    paths = dict.fromkeys(path for one in flat for path in one)
    absent = object()
    return tuple(
        path
        for path in paths
        if any(one.get(path, absent) != first.get(path, absent) for one in flat)
    )
