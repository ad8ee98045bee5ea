"""Which jobs are equal: what they would record is the same, digit by digit.

Equal are the specs, but for what changes no result (`trainer.spec.content_hash`, with the dataset's digest), the
numerics, and the environments: trainer code (by `trainer.code_versions`), libraries and processor.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.code_versions import with_generation
from trainer.spec import ASKED_FOR, CHANNELS_LAST, CHANNELS_LAST_WIDTH, Numerics


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker would train with on one of its devices, before a study or a spec decides otherwise."""

    numerics: Numerics
    environment: Mapping[str, Any]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Offer":
        return cls(Numerics.model_validate(row["numerics"]), comparable(row["environment"]))


@dataclass(frozen=True, slots=True)
class Source:
    """A job that has succeeded; `environment`: None where its attempts ran in different ones."""

    job_id: int
    numerics: Mapping[str, Any]
    environment: Mapping[str, Any] | None

    def would_result(self, offers: Collection[Offer], own: Numerics) -> bool:
        """Whether training with these numerics, on what one of the offers has, would give the same."""
        if self.environment is None or self.numerics != own.model_dump(mode="json"):
            return False
        recorded = self.environment
        return any(
            offer.numerics.device == own.device
            # What an offer doesn't say (of a GPU, what only CUDA knows) follows from what it says.
            and all(recorded.get(name) == value for name, value in offer.environment.items())
            for offer in offers
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A new job: its spec as a document, and the kind of device that it must have."""

    hash: str
    spec: Mapping[str, Any]
    device: str


@dataclass(frozen=True, slots=True)
class Answers:
    """The numerics that all of the jobs have then, and by their places the jobs that answer them."""

    numerics: Numerics | None = None
    sources: Mapping[int, int] = field(default_factory=dict)


def match(
    jobs: Sequence[Asked],
    fixed: Numerics | None,
    sources: Mapping[str, Sequence[Source]],
    offers: Sequence[Offer],
) -> Answers:
    """Which of a study's jobs (or of one alone) are answered, and with which numerics.

    Where they aren't fixed yet, they are those that some worker would decide on at the first claim: of several, those
    with which most of the jobs are answered, a GPU's first.
    """
    bases = [fixed] if fixed else _bases(jobs, offers)
    found = [Answers(base, _match(jobs, base, sources, offers)) for base in bases]
    best = max(found, key=lambda one: len(one.sources), default=Answers())
    return best if best.sources else Answers()


def for_study(numerics: Numerics) -> dict[str, Any]:
    """As a study keeps them: without what each spec asks for."""
    return numerics.model_dump(mode="json", exclude=set(ASKED_FOR))


def _bases(jobs: Sequence[Asked], offers: Sequence[Offer]) -> Sequence[Numerics]:
    kinds = {job.device for job in jobs} - {"auto"}
    # As `store.jobs.acquire` decides at the first claim.
    channels_last = all(may_be_channels_last(job.spec) for job in jobs)
    decided = [
        offer.numerics.model_copy(update={"memory_format": "channels_last"})
        if channels_last and offer.numerics.device == "cpu"
        else offer.numerics
        for offer in offers
        if not kinds or kinds == {offer.numerics.device}
    ]
    distinct = {one.model_dump_json(): one for one in decided}.values()
    return sorted(distinct, key=lambda one: one.device, reverse=True)


def may_be_channels_last(spec: Mapping[str, Any]) -> bool:
    if (spec["model"]["name"], spec["norm"]["kind"]) not in CHANNELS_LAST:
        return False
    is_wide = bool(spec["model"]["width"] >= CHANNELS_LAST_WIDTH)
    return is_wide and spec["weights"]["kind"] == "plain"


def _match(
    jobs: Sequence[Asked],
    base: Numerics,
    sources: Mapping[str, Sequence[Source]],
    offers: Sequence[Offer],
) -> Mapping[int, int]:
    answers: dict[int, int] = {}
    for place, job in enumerate(jobs):
        own = base.for_job(job.spec)
        for source in sources.get(job.hash, ()):
            if source.would_result(offers, own):
                answers[place] = source.job_id
                break
    return answers


def comparable(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the numerics, which are compared by themselves."""
    known = with_generation(environment)
    return {name: value for name, value in known.items() if name not in Numerics.model_fields}


def the_one_environment(environments: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of a job's attempts, if all of them ran in it."""
    compared = [comparable(one) for one in environments]
    return compared[0] if compared and all(one == compared[0] for one in compared) else None
