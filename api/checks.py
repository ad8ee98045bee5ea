"""The checks of a document's arms: their datasets, and what the checker says of their models.

What is wrong is added to a list instead of raised, so that a document gets all its mistakes told at once.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from api.http import Conflict
from api.processes import CheckerUnavailable, StillChecking
from api.services import Services
from runtime.documents import pointer
from store.catalog import datasets
from store.db import Dataset, User
from studies.spec import Cell, StudySpec, locate, part_of
from trainer.problems import did_you_mean, listed
from trainer.spec import DatasetInfo, JobSpec, Problem, Report

#: What is wrong with a model is told beside other mistakes where its check takes no longer.
MOST_SECONDS_OF_REFUSED = 5.0
#: Parts of a spec that decide whether others fit: with one of them unread, a check would be of something else.
_SHAPING = frozenset({"dataset", "model", "task", "training"})


@dataclass(frozen=True, slots=True)
class Arm:
    """The cells of one variant at one point: they differ only in what no check looks at."""

    name: str
    variant: str
    point: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def spec(self) -> JobSpec:
        return self.cells[0].spec


def group_arms(cells: Iterable[Cell]) -> list[Arm]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.arm, []).append(cell)
    return [Arm(name, same[0].variant, same[0].point, tuple(same)) for name, same in groups.items()]


@contextmanager
def unless(found: Sequence[Problem]) -> Iterator[None]:
    """What is no mistake of the document is told only of one that has none."""
    try:
        yield
    except (CheckerUnavailable, Conflict):
        if not found:
            raise


def seconds_of_check(services: Services, found: Sequence[Problem]) -> float:
    """For the checks of one document; of one that is refused anyway, few."""
    return MOST_SECONDS_OF_REFUSED if found else services.settings.study_check_seconds


def find_dataset(
    services: Services, name: str, place: str, found: list[Problem]
) -> tuple[Dataset, DatasetInfo] | None:
    """The dataset, ready to be used; or None, with why in `found`. Raises `Conflict`."""
    with services.readers() as session:
        dataset = datasets.find(session, name)
        if dataset is None:
            names = datasets.names(session)
            detail = f"there is no dataset named {name!r}{did_you_mean(name, names)}"
            remedy = f"one of {listed(names)}; or register it: `normlab dataset add`, POST /api/v1/datasets"
            found.append(Problem(pointer=place, detail=detail, remedy=remedy))
            return None
    if dataset.status == "failed":
        detail = f"dataset {name!r} could not be registered: {dataset.error}"
        found.append(Problem(pointer=place, detail=detail, remedy="register it again"))
        return None
    # Without the digest and the shapes neither the check nor the job's hash can be computed, so this is not
    # an error of the document: the same request will succeed later.
    if dataset.info is None:
        with unless(found):
            detail = f"dataset {name!r} is still being registered; submit again when it is ready"
            raise Conflict(detail, headers={"Retry-After": "10"})
        return None
    return dataset, DatasetInfo.model_validate(dataset.info)


def find_datasets(
    services: Services, study: StudySpec, arms: Sequence[Arm], found: list[Problem]
) -> dict[str, tuple[Dataset, DatasetInfo]]:
    """By name; adds to `found` what is wrong with the others."""
    places: dict[str, str] = {}
    # Of arms that can't be read, the study's document says it.
    if found:
        variants = {pointer("variants", name): one for name, one in study.variants.items()}
        parts = {"/base": study.base, **variants}
        places = {
            name: f"{at}/dataset/name" for at, one in parts.items() if (name := name_dataset(one))
        }
    for arm in arms:
        name = arm.spec.dataset.name
        places[name] = locate(study, arm.variant, arm.point, "/dataset/name")
    ready = {name: find_dataset(services, name, place, found) for name, place in places.items()}
    return {name: one for name, one in ready.items() if one is not None}


def name_dataset(document: Any) -> str | None:
    """What a document names, whatever else is in it."""
    dataset = document.get("dataset") if isinstance(document, Mapping) else None
    name = dataset.get("name") if isinstance(dataset, Mapping) else None
    return name if isinstance(name, str) and name else None


def check_arms(
    services: Services,
    user: User,
    arms: Sequence[Arm],
    infos: Mapping[str, DatasetInfo],
    seconds: float,
) -> Iterator[Report]:
    """One for each arm; the checker keeps its answers, so a later try gets further."""
    # One deadline for all arms: clients wait a minute for an answer, and many checks that each kept their own
    # limit would add up to more.
    deadline = time.monotonic() + seconds
    for number, arm in enumerate(arms):
        left = max(deadline - time.monotonic(), 0.0)
        info = infos[arm.spec.dataset.name]
        try:
            yield services.checker.check(arm.spec, info, user.id, left)
        except StillChecking as error:
            if not number:
                raise
            # The answers so far are in the cache, so a client that repeats the request after Retry-After
            # finds them at once and gets further each time.
            done = f"{number} of {len(arms)} combinations are checked and cached"
            raise StillChecking(done, retry_after=1) from error


def locate_problems(
    study: StudySpec,
    arms: Sequence[Arm],
    reports: Sequence[Report],
    unread: Mapping[str, frozenset[str]],
) -> list[Problem]:
    """The problems, with pointers into the study as it was written. `reports`: of the first of the arms."""
    # A mistake in the base is found in every arm but stands in the document once, and so `locate` leads all
    # of them to one pointer.
    return [
        one.model_copy(update={"pointer": locate(study, arm.variant, arm.point, one.pointer)})
        for arm, report in zip(arms, reports, strict=False)
        for one in select_read(report.problems, unread.get(arm.name, frozenset()))
    ]


def select_read(problems: Iterable[Problem], unread: frozenset[str]) -> list[Problem]:
    """Those of what was written, not of a default in place of what could not be read."""
    if unread & _SHAPING:
        return []
    return [one for one in problems if part_of(one.pointer) not in unread]
