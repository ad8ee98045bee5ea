"""The bill of a plan: what its jobs will take of the machines, and when they will have ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from api.admission import CheckedArm, Plan
from store.access import everything
from store.db import User
from store.jobs import NewJob, queue
from store.results import history, pace
from store.reuse import find_answers
from studies.planning import (
    ArmWork,
    Bill,
    Expected,
    Turn,
    add_up,
    estimate,
    expect,
    expect_end,
    read_free,
)

#: Of the queue, so many jobs are looked at.
_MOST_WAITING = 500


@dataclass(frozen=True, slots=True)
class Priced:
    """What each arm's jobs are expected to take (None: nothing tells), and how many of them are to be trained."""

    works: tuple[ArmWork, ...]
    expected: tuple[Expected | None, ...]
    reused: int


def price(
    session: Session,
    plan: Plan,
    *,
    reuse_for: User | None,
    whole: float = 1.0,
    roughly: bool = True,
) -> Priced:
    """`reuse_for`: equal jobs that this person may read answer some, None: all are trained; `whole`: times the jobs of the
    plan; `roughly`: also by jobs of other sizes, which takes longer to find."""
    reused = [] if reuse_for is None else _count_reused(session, plan, reuse_for)
    works = tuple(
        ArmWork(
            arm.spec,
            arm.report.parameters,
            arm.report.steps,
            round((arm.jobs - (reused[number] if reused else 0)) * whole),
        )
        for number, arm in enumerate(plan.arms)
    )
    taken = history.read_taken(session, [arm.spec.model_dump(mode="json") for arm in plan.arms])
    expected = [expect(work, found) for work, found in zip(works, taken, strict=True)]
    if roughly and None in expected:
        expected = _guess(session, works, expected)
    return Priced(works, tuple(expected), sum(reused))


def with_expected_seconds(session: Session, plan: Plan, new: Sequence[NewJob]) -> list[NewJob]:
    """The jobs of the plan with what each is expected to take, so that it can be compared with what it took."""
    priced = price(session, plan, reuse_for=None, roughly=False)
    seconds = [None if one is None else one.seconds for one in priced.expected]
    arms = [number for number, arm in enumerate(plan.arms) for _ in range(arm.jobs)][: len(new)]
    return [replace(one, expected_seconds=seconds[arm]) for one, arm in zip(new, arms, strict=True)]


def make_bill(priced: Priced) -> Bill:
    return add_up(priced.works, priced.expected, priced.reused)


def expect_wall_seconds(session: Session, priced: Priced, user: User) -> float | None:
    """Until all of it has ended, with the queue as it is now; None where nothing tells."""
    own = [
        Turn(_kind(work), work.spec.resources.devices, None if one is None else one.seconds)
        for work, one in zip(priced.works, priced.expected, strict=True)
        for _ in range(work.jobs)
    ]
    if any(turn.seconds is None for turn in own):
        return None
    usual = sum(turn.seconds or 0.0 for turn in own) / max(1, len(own))
    # What is told of it is a sum.
    with everything(session):
        waiting = queue.waiting(session, _MOST_WAITING)
        ids = {one.job.study_id for one in waiting if one.job.study_id is not None}
        recent, free = pace.recent_seconds(session, ids), read_free(session, usual)
    ahead = [
        # Where nothing tells, somebody else's job is taken to be as long as one's own.
        Turn(one.kind, one.job.devices, recent.get(one.job.study_id or 0, usual))
        for one in waiting
        if one.runnable
    ]
    others = {one.job.owner.name for one in waiting if one.runnable} - {user.name}
    return expect_end(ahead, own, free, len(others))


def _kind(work: ArmWork) -> str | None:
    device = work.spec.resources.device
    return None if device == "auto" else device


def _count_reused(session: Session, plan: Plan, user: User) -> list[int]:
    """Of each arm, how many jobs equal ones answer. Trials of a tuning are always trained, and jobs of a study that grows."""
    if plan.grows or any(one.trial is not None for one in plan.new):
        return [0] * len(plan.arms)
    digests = {name: row.info["digest"] for name, row in plan.datasets.items() if row.info}
    found = find_answers(session, user.id, [one.spec for one in plan.new], digests)
    return list(_count_by_arm(plan.arms, [one is not None for one in found]))


def _count_by_arm(arms: Sequence[CheckedArm], are: Sequence[bool]) -> Iterator[int]:
    """The jobs of a plan stand in the order of its arms."""
    start = 0
    for arm in arms:
        yield sum(are[start : start + arm.jobs])
        start += arm.jobs


def _guess(
    session: Session, works: Sequence[ArmWork], expected: Sequence[Expected | None]
) -> list[Expected | None]:
    """Where no job of the shape has finished, by those of another size."""
    networks = {(work.spec.dataset.name, work.spec.model.name) for work in works}
    finished = pace.finished_jobs(session, networks)
    return [
        known if known is not None else _guess_one(replace(work, jobs=1), finished)
        for work, known in zip(works, expected, strict=True)
    ]


def _guess_one(work: ArmWork, finished: Sequence[pace.FinishedJob]) -> Expected | None:
    found = estimate([work], finished, {})
    if found is None:
        return None
    low, high = found.work
    # Between low and high as far as from either, as a factor.
    return Expected(max(low, 1e-3) ** 0.5 * max(high, 1e-3) ** 0.5, "scaled", found.jobs)
