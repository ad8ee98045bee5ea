"""How long the jobs of a plan will train, judged by finished ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from store.results import FinishedJob
from trainer.spec import JobSpec

Basis: TypeAlias = Literal["measured", "scaled"]
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ArmWork:
    """Jobs that differ in their seeds only; `steps` are those of one job."""

    spec: JobSpec
    parameters: int
    steps: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """In seconds, from low to high. `work`: the trainings one after another; `wall`: on the `slots`, once it
    is their turn (None without any). `basis`: `measured` on `jobs` finished ones of the same network,
    data and batch, or `scaled` from others by parameters and examples per step."""

    wall: Range | None
    work: Range
    slots: int
    basis: Basis
    jobs: int


def estimate(
    arms: Sequence[ArmWork], finished: Sequence[FinishedJob], slots: Mapping[str, int]
) -> Estimate | None:
    """None where some arm has nothing to be judged by."""
    paces = [_pace(arm, finished) for arm in arms]
    known = [pace for pace in paces if pace is not None]
    if not arms or len(known) < len(paces):
        return None
    rest_on = {id(job) for pace in known for job in pace.jobs}
    sums = [
        sum(arm.jobs * arm.steps * pace.seconds[end] for arm, pace in zip(arms, known, strict=True))
        for end in (0, 1)
    ]
    usable = _usable(arms, slots)
    # A study of three jobs gains nothing from a fourth slot.
    beside = min(usable, sum(arm.jobs for arm in arms))
    return Estimate(
        wall=(sums[0] / beside, sums[1] / beside) if beside else None,
        work=(sums[0], sums[1]),
        slots=usable,
        # One guessed arm makes the whole a guess.
        basis="scaled" if any(pace.basis == "scaled" for pace in known) else "measured",
        jobs=len(rest_on),
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    seconds: Range
    basis: Basis
    jobs: Sequence[FinishedJob]


def _pace(arm: ArmWork, finished: Sequence[FinishedJob]) -> _Pace | None:
    """Seconds per step by the jobs that are most alike."""
    wanted = arm.spec.model_dump(mode="json")
    device = arm.spec.resources.device
    usable = [one for one in finished if device in ("auto", one.device)]
    # From the most alike to the less: a norm or an augmentation may double the time of a step, so that jobs with
    # the same ones are preferred.
    alike: Sequence[Callable[[FinishedJob], bool]] = (
        lambda one: _same(one, wanted, *_NETWORK, *_DETAILS),
        lambda one: _same(one, wanted, *_NETWORK),
    )
    for is_alike in alike:
        if jobs := [one for one in usable if is_alike(one)]:
            return _Pace(_middle([_seconds(arm, one) for one in jobs]), "measured", jobs)
    jobs = [one for one in usable if one.parameters and _same(one, wanted, *_FAMILY)]
    if not jobs or not arm.parameters:
        return None
    ranges = [_scaled(arm, one) for one in jobs]
    low, high = _middle([low for low, _ in ranges])[0], _middle([high for _, high in ranges])[1]
    return _Pace((low, high), "scaled", jobs)


_FAMILY = ("dataset.name", "dataset.image_size", "model.name")
_NETWORK = (
    "dataset.name", "dataset.image_size", "model", "training.batch_size", "training.accumulate",
    "resources.devices",
)  # fmt: skip
_DETAILS = ("norm", "diagnostics", "augmentation")


def _same(job: FinishedJob, wanted: Mapping[str, object], *paths: str) -> bool:
    return all(_at(job.spec, path) == _at(wanted, path) for path in paths)


def _at(document: object, path: str) -> object:
    for key in path.split("."):
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _scaled(arm: ArmWork, job: FinishedJob) -> Range:
    """Between what a step took there and what it would take in proportion to parameters × examples: small
    networks take the same time whatever their size, large ones in proportion."""
    batch = _at(job.spec, "training.batch_size")
    assert isinstance(batch, int)
    assert job.parameters
    ratio = arm.parameters * arm.spec.training.batch_size / (job.parameters * batch)
    return _seconds(arm, job) * min(1.0, ratio), _seconds(arm, job) * max(1.0, ratio)


def _seconds(arm: ArmWork, job: FinishedJob) -> float:
    """Of a step there, with as many passes as this arm's takes."""
    return job.seconds_per_step * _passes(arm.spec.model_dump(mode="json")) / _passes(job.spec)


def _passes(spec: Mapping[str, object]) -> int:
    """Forward and backward passes of a step: sharpness-aware minimization takes two."""
    parts = spec.get("regularization")
    kinds = [_at(part, "kind") for part in parts] if isinstance(parts, list) else []
    return 2 if "sam" in kinds else 1


def _middle(values: Sequence[float]) -> Range:
    """Without the lowest and the highest tenth."""
    ordered = sorted(values)
    # A job that shared its GPU, or that compiled on its first steps, would otherwise stretch the range. Under ten
    # jobs nothing is cut.
    cut = len(ordered) // 10
    return ordered[cut], ordered[-1 - cut]


def _usable(arms: Sequence[ArmWork], slots: Mapping[str, int]) -> int:
    """A study trains on one kind of device; which, its first claim decides where the spec doesn't."""
    asked = {arm.spec.resources.device for arm in arms} - {"auto"}
    counts = [count for kind, count in slots.items() if not asked or kind in asked]
    return max(counts, default=0)
