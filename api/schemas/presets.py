"""Schemas of presets."""

from typing import Annotated, Any, Self

from pydantic import Field

from api.schemas.jobs import View
from api.schemas.studies import StudyView
from store.db import Verdict
from studies.presets import Change, Preset, Scale
from trainer.spec import Name, Part, Seed


class ScaleView(View):
    """One size of a preset's study."""

    scale: Scale
    takes: Annotated[
        str, Field(description="how long it takes, on which hardware; or that it has not been run")
    ]
    datasets: Annotated[list[str], Field(description="the first is the default")]
    cells: Annotated[int, Field(description="number of final trainings")]
    digest: Annotated[str, Field(description="digest of the studies and their claims")]

    @classmethod
    def of(cls, preset: Preset, scale: Scale) -> Self:
        one = preset.scales[scale]
        return cls(
            scale=scale,
            takes=one.takes,
            datasets=list(one.datasets),
            cells=preset.cells(scale),
            digest=preset.registration(scale).digest,
        )


class PresetView(View):
    """A preset in the list."""

    name: str
    title: str
    topic: str
    paper: str
    claims: Annotated[list[str], Field(description="the claims to test")]
    scales: list[ScaleView]
    digest: Annotated[str, Field(description="digest of the studies and their claims")]
    first_run: Annotated[str | None, Field(description="the digest when it first ran")]
    changes: Annotated[list[Change], Field(description="changes to studies or claims since then")]

    @classmethod
    def of(cls, preset: Preset, scale: Scale | None = None, /, **more: Any) -> Self:
        """`scale`: whose claims, digest and changes are shown; default: the usual one's."""
        same = {name: getattr(preset, name) for name in ("name", "title", "topic", "paper")}
        registration = preset.registration(scale or preset.usual_scale)
        claims = preset.study_spec(scale or preset.usual_scale).claims
        return cls(
            **same,
            claims=[claim.says for claim in claims],
            scales=[ScaleView.of(preset, name) for name in preset.scales],
            digest=registration.digest,
            first_run=registration.first_run,
            changes=list(registration.changes),
            **more,
        )


class PresetDetail(PresetView):
    """All of a preset; `study` is what a run would submit."""

    text: str
    caveats: list[str]
    measured: str
    scale: Scale
    dataset: str
    study: dict[str, Any]


class RunRequest(Part):
    """Which scale of a preset to run, and on which dataset."""

    scale: Scale = "small"
    dataset: Annotated[Name | None, Field(description="default: the scale's first dataset")] = None
    project: Name | None = None
    seeds: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=1000)] | list[Seed] | None,
        Field(description="how many, or which ones; default: the preset's"),
    ] = None


class ShortVerdict(View):
    """A claim's verdict without its details."""

    claim: str
    verdict: str
    sentence: str
    n: int
    p_adjusted: float | None

    @classmethod
    def of(cls, one: Verdict) -> Self:
        return cls(
            claim=one.claim,
            verdict=one.verdict,
            sentence=one.sentence,
            n=one.n,
            p_adjusted=one.p_adjusted,
        )


class RunView(View):
    """A study that ran the preset; `verdicts` once its jobs have ended."""

    study: StudyView
    scale: str
    dataset: str
    digest: str
    own_seeds: Annotated[
        bool, Field(description="whether it ran with other seeds than the preset's")
    ]
    verdicts: list[ShortVerdict]
