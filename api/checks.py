"""The checks of a document's arms: their datasets, and what the checker says of their models.

What is wrong is added to a list instead of raised, so that a document gets all its mistakes told at once.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from api.http import Conflict
from api.processes import CheckerUnavailable, StillChecking
from api.services import Services
from runtime.documents import pointer
from store.catalog import InitialWeights, datasets, initial_weights
from store.db import Dataset, NotFound, User, WrongStatus
from studies.spec import PRETRAINING, TO_BE_PRETRAINED, Cell, StudySpec, locate, part_of
from trainer.plugins import REMEDY, PluginError, find_by_key
from trainer.problems import did_you_mean, listed
from trainer.spec import DatasetInfo, InstalledPackage, JobSpec, Problem, Report

#: What is wrong with a model is told beside other mistakes where its check takes no longer.
MOST_SECONDS_OF_REFUSED = 5.0
#: Parts of a spec that decide which weights there are.
_NETWORK = frozenset({"model", "norm", "weights"})
#: Parts of a spec that decide whether others fit: with one of them unread, a check would be of something else.
_SHAPING = frozenset({"dataset", "model", "task", "training"})


@dataclass(frozen=True, slots=True)
class Arm:
    """The cells of one variant at one point: they differ only in what no check looks at."""

    name: str
    variant: str
    point: Mapping[str, Any]
    cells: tuple[Cell, ...]
    weights: InitialWeights | None = None

    @property
    def spec(self) -> JobSpec:
        return self.cells[0].spec


def group_arms(cells: Iterable[Cell]) -> list[Arm]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.arm, []).append(cell)
    return [Arm(name, same[0].variant, same[0].point, tuple(same)) for name, same in groups.items()]


def begin_arms(
    services: Services, study: StudySpec, arms: Sequence[Arm], found: list[Problem]
) -> list[Arm]:
    """The arms with the checkpoints that they begin from; what is wrong with those in `found`."""
    if study.pretrain is not None:
        return list(_begin_pretrained(services, arms, found))
    begun = []
    for arm in arms:
        field = next((one for one in ("tune", "search") if getattr(study, one) is not None), None)
        if arm.spec.init_from is not None and field is not None:
            # The jobs of the setting that is chosen are made later, without a look at the other job.
            detail = f"a study with {field} can't begin from another job's weights"
            remedy = f"no {field}, or no init_from"
            found.append(Problem(pointer=f"/{field}", detail=detail, remedy=remedy))
        place = locate(study, arm.variant, arm.point, "/init_from")
        spec, weights = find_initial_weights(services, arm.spec, place, found)
        update = {"init_from": spec.init_from}
        cells = tuple(replace(one, spec=one.spec.model_copy(update=update)) for one in arm.cells)
        begun.append(arm if weights is None else replace(arm, cells=cells, weights=weights))
    return begun


def _begin_pretrained(
    services: Services, arms: Sequence[Arm], found: list[Problem]
) -> Iterator[Arm]:
    """With what the pretraining among them will leave, whose weights are not there yet."""
    weights = None
    for arm in arms:
        if arm.variant == PRETRAINING:
            ready = find_dataset(services, arm.spec.dataset.name, "/pretrain/dataset/name", found)
            if ready is not None:
                spec, info = (one.model_dump(mode="json") for one in (arm.spec, ready[1]))
                weights = InitialWeights("", 0, spec, info)
    for arm in arms:
        yield arm if arm.spec.init_from is None else replace(arm, weights=weights)


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


def find_initial_weights(
    services: Services, spec: JobSpec, place: str, found: list[Problem]
) -> tuple[JobSpec, InitialWeights | None]:
    """The spec with the digest of the checkpoint that it begins from, and what that is of; why there is none in `found`."""
    wanted = spec.init_from
    if wanted is None:
        return spec, None
    try:
        with services.readers() as session:
            weights = initial_weights.find(session, wanted)
    except (NotFound, WrongStatus) as error:
        remedy = "a job that you may read, has succeeded and has such a checkpoint: normlab show"
        found.append(Problem(pointer=f"{place}/job", detail=str(error), remedy=remedy))
        return spec, None
    if wanted.digest not in (None, weights.digest):
        detail = f"the {wanted.checkpoint} checkpoint of job {wanted.job} has the digest {weights.digest}"
        found.append(
            Problem(pointer=f"{place}/digest", detail=detail, remedy="no digest, or this one")
        )
        return spec, None
    update = {"init_from": wanted.model_copy(update={"digest": weights.digest})}
    return spec.model_copy(update=update), weights


def find_packages(
    spec: JobSpec, place: str, found: list[Problem]
) -> Mapping[str, InstalledPackage]:
    """Of the plugins that the spec names, by kind and name, as they are installed here; why there are none in `found`."""
    packages = {}
    for plugin, wanted in spec.plugins.items():
        try:
            installed = find_by_key(plugin).installed
        except PluginError as error:
            found.append(
                Problem(
                    pointer=f"{place}{spec.plugin_places[plugin]}/name",
                    detail=str(error),
                    remedy=REMEDY,
                )
            )
            continue
        if wanted not in (None, installed):
            detail = f"it was submitted with {wanted}, but {installed} is installed now"
            remedy = "that package again; or a new submission, without `installed` and `plugins`"
            found.append(
                Problem(
                    pointer=f"{place}{spec.plugin_places[plugin]}/installed",
                    detail=detail,
                    remedy=remedy,
                )
            )
        packages[plugin] = installed
    return packages


def find_packages_of(study: StudySpec, cells: Iterable[Cell], found: list[Problem]) -> StudySpec:
    """The study with the packages of its plugins; each plugin is looked up once."""
    packages: dict[str, InstalledPackage] = {}
    seen: set[tuple[str, InstalledPackage | None]] = set()
    for cell in cells:
        if not seen.issuperset(cell.spec.plugins.items()):
            seen.update(cell.spec.plugins.items())
            unlocated: list[Problem] = []
            packages |= find_packages(cell.spec, "", unlocated)
            found += (
                one.model_copy(
                    update={"pointer": locate(study, cell.variant, cell.point, one.pointer)}
                )
                for one in unlocated
            )
    return study.model_copy(update={"plugins": packages}) if packages else study


def note_initial_weights(spec: JobSpec, report: Report, weights: InitialWeights | None) -> Report:
    """With what it begins from, among the notes."""
    if weights is None or spec.init_from is None:
        return report
    head = ", except for the last layer" if spec.init_from.reset_head else ""
    is_there = spec.init_from.job != TO_BE_PRETRAINED
    job = f"job {spec.init_from.job}" if is_there else "the pretraining of its seed"
    which = f"{spec.init_from.checkpoint}{f', epoch {weights.epoch}' if is_there else ''}"
    note = f"starts from the weights of {job} ({which}){head}"
    return report.model_copy(update={"notes": (*report.notes, note)})


def describe_source(weights: InitialWeights | None) -> Mapping[str, Any] | None:
    """For the checker."""
    return None if weights is None else {"spec": weights.spec, "info": weights.info}


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
            source = describe_source(arm.weights)
            report = services.checker.check(arm.spec, info, user.id, left, source)
            yield note_initial_weights(arm.spec, report, arm.weights)
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
        _locate(study, arm, one)
        for arm, report in zip(arms, reports, strict=False)
        for one in select_read(report.problems, unread.get(arm.name, frozenset()))
    ]


def _locate(study: StudySpec, arm: Arm, problem: Problem) -> Problem:
    place = locate(study, arm.variant, arm.point, problem.pointer)
    if study.pretrain is None:
        return problem.model_copy(update={"pointer": place})
    # No document names the job that arms begin from: it is the variant that doesn't fit, or a pretraining of another network.
    # The checker knows that by the number that stands for a job to come.
    if problem.pointer == "/init_from/job":
        is_other = not _NETWORK.isdisjoint(study.pretrain)
        place = "/pretrain" if is_other else pointer("variants", arm.variant)
    words = {
        name: text.replace(f"job {TO_BE_PRETRAINED}", "the pretraining")
        for name in ("detail", "remedy")
        if (text := getattr(problem, name)) is not None
    }
    return problem.model_copy(update={**words, "pointer": place})


def select_read(problems: Iterable[Problem], unread: frozenset[str]) -> list[Problem]:
    """Those of what was written, not of a default in place of what could not be read."""
    if unread & _SHAPING:
        return []
    return [one for one in problems if part_of(one.pointer) not in unread]
