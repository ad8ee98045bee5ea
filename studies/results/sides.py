"""The sides of a comparison: jobs grouped by any fields of a query, or the arms of several studies."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.db import BadQuery, Study
from store.query import write_value
from store.results import ComparedJob
from studies.results.grouping import place_of
from studies.spec import arm_name

MOST_SIDES = 20


@dataclass(frozen=True, slots=True)
class Side:
    """Jobs that are one row of the comparison. `reference_name`: by what name it is chosen as the reference; the arms of
    a variant share it, so that each arm of another is compared at its own point.

    `name` is for people: two arms may have the same."""

    name: str
    reference_name: str
    by: Mapping[str, Any]
    jobs: Sequence[ComparedJob]


def group_by_fields(jobs: Iterable[ComparedJob]) -> list[Side]:
    """By the values that the jobs were read with, in the order of these values. Raises BadQuery."""
    grouped: dict[str, list[ComparedJob]] = {}
    for job in jobs:
        key = json.dumps([_normalize(value) for value in job.by.values()], default=str)
        grouped.setdefault(key, []).append(job)
    _ensure_few(len(grouped))
    sides = (
        Side(name := name_values(same[0].by), name, same[0].by, same) for same in grouped.values()
    )
    return sorted(sides, key=lambda side: place_of(side.by))


def group_by_arm(jobs: Iterable[ComparedJob], studies: Sequence[Study]) -> list[Side]:
    """The variants of the studies at each of their points, in the order of the studies, of each its baseline first.
    Raises BadQuery."""
    grouped: dict[tuple[int, str, str], list[ComparedJob]] = {}
    for job in jobs:
        point = json.dumps(job.point, sort_keys=True)
        grouped.setdefault((job.study_id or 0, job.variant or "", point), []).append(job)
    _ensure_few(len(grouped))
    numbers = {study.id: number for number, study in enumerate(studies)}
    baselines = {(study.id, study.spec.get("baseline")) for study in studies}
    # Sorting keeps the order of the jobs, which is that of the study's document.
    arms = sorted(grouped, key=lambda arm: (numbers[arm[0]], arm[:2] not in baselines))
    return [
        _make_arm(study_id, variant, grouped[arm]) for arm in arms for study_id, variant, _ in [arm]
    ]


def name_values(by: Mapping[str, Any]) -> str:
    """`group` of one field, `norm.kind=group, optimizer.lr=0.1` of several."""
    if len(by) == 1:
        return ", ".join(map(_write, by.values()))
    return ", ".join(f"{name}={_write(value)}" for name, value in by.items())


def _make_arm(study_id: int, variant: str, jobs: Sequence[ComparedJob]) -> Side:
    point = jobs[0].point
    return Side(
        name=f"s{study_id} {arm_name(variant, point)}",
        reference_name=f"s{study_id} {variant}",
        by={"study": study_id, "variant": variant, **point},
        jobs=jobs,
    )


def _ensure_few(count: int) -> None:
    if count > MOST_SIDES:
        detail = (
            f"there are {count} groups, and at most {MOST_SIDES} are compared: narrow the query"
        )
        raise BadQuery(detail, 0)


def _normalize(value: Any) -> Any:
    """32 and 32.0 are one value; true is not 1."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _write(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        return write_value(value)
    return json.dumps(value, ensure_ascii=False, default=str)
