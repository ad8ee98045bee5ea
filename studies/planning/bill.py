"""What jobs will take of the machines, judged by what finished ones of the same shape took."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from store.results import Taken
from studies.planning.estimates import ArmWork
from trainer.spec import NoStopping

#: The pace is that of so many jobs of the shape, the latest.
_RECENT = 8

Rest: TypeAlias = Literal["same", "shape", "scaled"]


@dataclass(frozen=True, slots=True)
class Expected:
    """What one job of an arm takes; `basis`: jobs of the same shape, of which some differ in their seeds only
    (`same`) or none, or others by parameters and examples (`scaled`). `finished`: how many they were."""

    seconds: float
    basis: Rest
    finished: int
    stored_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """`device_seconds`, `stored_bytes`: of all jobs to be trained of which something is known, `unknown` jobs aside;
    None where nothing is. `unknown_seconds`: device time after which the unknown ones are stopped. `memory_bytes`: of the
    job that needs most. `basis`: the weakest of its arms."""

    jobs: int
    reused: int
    unknown: int
    unknown_seconds: float
    device_seconds: float | None
    basis: Rest | None
    finished: int
    stored_bytes: int | None
    memory_bytes: int | None


def expect(arm: ArmWork, taken: Sequence[Taken]) -> Expected | None:
    """By the jobs of its shape; None without any on a device that it may have."""
    device = arm.spec.resources.device
    usable = [one for one in taken if device in ("auto", one.device) and one.step > 0]
    if not usable:
        return None
    # A study trains on one kind of device: where it may choose, on that of the latest.
    usable = [one for one in usable if one.device == usable[0].device]
    same = [one for one in usable if one.is_same]
    memory = [one.memory_bytes for one in usable if one.memory_bytes is not None]
    return Expected(
        seconds=_around(usable) + _pace(usable) * _steps(arm, usable, same),
        basis="same" if same else "shape",
        finished=len(usable),
        stored_bytes=round(median(one.stored_bytes for one in same or usable)),
        memory_bytes=max(memory, default=None),
    )


def _around(alike: Sequence[Taken]) -> float:
    """What start and end take, besides the evaluation periods."""
    return median(max(0.0, one.seconds - _periods(one)) for one in alike[:_RECENT])


def _pace(alike: Sequence[Taken]) -> float:
    """Seconds for a step, evaluations included."""
    # Of the latest, also where older ones are of the same cell: how busy the machine is changes what a step takes
    # more than the seed does.
    return median(_periods(one) / one.step for one in alike[:_RECENT])


def _steps(arm: ArmWork, alike: Sequence[Taken], same: Sequence[Taken]) -> float:
    """How many a job trains: how early it is stopped only training shows, best that of the same cell."""
    if same:
        return median(one.step for one in same)
    if isinstance(arm.spec.early_stopping, NoStopping):
        return arm.steps
    return arm.steps * median(one.step / max(1, one.total_steps) for one in alike)


def _periods(one: Taken) -> float:
    return one.period_seconds or one.seconds


def add_up(arms: Sequence[ArmWork], expected: Sequence[Expected | None], reused: int) -> Bill:
    """`arms`: with the jobs that are to be trained; `reused`: how many more are not."""
    known = [
        (arm, one) for arm, one in zip(arms, expected, strict=True) if one is not None and arm.jobs
    ]
    ranks: tuple[Rest, ...] = ("same", "shape", "scaled")
    stored = [arm.jobs * one.stored_bytes for arm, one in known if one.stored_bytes is not None]
    memory = [one.memory_bytes for _, one in known if one.memory_bytes is not None]
    trained = sum(arm.jobs for arm in arms)
    nothing_to_do = trained == 0
    return Bill(
        jobs=trained + reused,
        reused=reused,
        unknown=trained - sum(arm.jobs for arm, _ in known),
        unknown_seconds=sum(
            arm.jobs * arm.spec.resources.devices * arm.spec.resources.timeout
            for arm, one in zip(arms, expected, strict=True)
            if one is None
        ),
        device_seconds=sum(
            arm.jobs * arm.spec.resources.devices * one.seconds for arm, one in known
        )
        if known or nothing_to_do
        else None,
        basis=max((one.basis for _, one in known), key=ranks.index, default=None),
        finished=sum(one.finished for _, one in known),
        stored_bytes=sum(stored) if stored or nothing_to_do else None,
        memory_bytes=max(memory, default=None),
    )
