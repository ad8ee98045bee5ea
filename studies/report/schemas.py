"""What a study's report is made of: all that is needed to write it and to draw its figures, as data.

It crosses from the process that reads the database to the one that draws, as JSON.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import numpy as np
import numpy.typing
from pydantic import Field

from runtime.files import digest_of
from studies.claims import ClaimVerdict
from studies.comparison import Comparison, FrozenModel
from studies.presets import PresetRun
from studies.report.panels import Column, Fan, Images, PanelData
from studies.tuning import ReplayedRule, TunedArm


class Curve(FrozenModel):
    """One job's evaluation periods as columns of equal length; None: not finite, or not measured."""

    epoch: tuple[int, ...] = ()
    step: tuple[int, ...] = ()
    train_loss: Column = ()
    train_accuracy: Column = ()
    val_loss: Column = ()
    val_accuracy: Column = ()

    def rows(self) -> list[dict[str, Any]]:
        names = list(type(self).model_fields)
        columns = [getattr(self, name) for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


class StoredFile(FrozenModel):
    """A file of a job, fetched with `GET /jobs/{id}/files/{name}`."""

    name: str
    digest: str
    bytes: int


class JobReport(FrozenModel):
    """One job: `arm` is its variant at its matrix point, `value` what it counts with."""

    id: int
    arm: str
    variant: str
    point: dict[str, Any]
    seed: int
    status: str
    reason: str | None
    value: float | None
    metrics: dict[str, float | None]
    hash: str
    started_at: datetime | None
    finished_at: datetime | None
    mlflow_url: str | None
    curve: Curve
    files: tuple[StoredFile, ...]

    @property
    def left_out(self) -> str | None:
        """Why its curve isn't in a mean; None where it is."""
        if self.status != "succeeded":
            return self.status
        return "diverged" if self.reason == "diverged" else None


class Filters(FrozenModel):
    """The first filters of one job's first layer: `content` is float32 of this shape (count, channels,
    height, width), little-endian, base64; `total`: how many the layer has."""

    variant: str
    seed: int
    layer: str
    total: int
    shape: tuple[int, int, int, int]
    content: str

    @classmethod
    def of(cls, images: Images, **where: Any) -> "Filters":
        content = base64.b64encode(images.astype("<f4").tobytes()).decode()
        return cls(shape=images.shape, content=content, **where)

    def images(self) -> Images:
        flat = np.frombuffer(base64.b64decode(self.content), "<f4")
        return flat.reshape(self.shape)


class Histogram(FrozenModel):
    """The weights of one layer of a variant, over `jobs` jobs: counts between equidistant edges from
    -reach to reach."""

    variant: str
    layer: str
    jobs: int
    reach: float
    counts: tuple[int, ...]
    minimum: float
    maximum: float


class Provenance(FrozenModel):
    """What the study was trained with: `data` by name of the set; `environment` by name all values that
    its jobs' environments have."""

    spec: Annotated[str, Field(description="blake2b of the study document, 16 bytes, hex")]
    data: dict[str, str]
    environment: dict[str, tuple[str, ...]]


class ReportInput(FrozenModel):
    """A study as it is now."""

    study_id: int
    name: str
    project: str
    owner: str
    description: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    mlflow_url: str | None
    warnings: tuple[str, ...]
    spec: dict[str, Any]
    comparison: Comparison
    declared_by: Annotated[
        dict[str, str],
        Field(default_factory=dict, description="kind of confound → who declared it later"),
    ]
    claims: tuple[ClaimVerdict, ...] = ()
    preset: PresetRun | None = None
    tuned: tuple[TunedArm, ...] = ()
    replays: tuple[ReplayedRule, ...] = ()
    panels: tuple[PanelData, ...] = ()
    jobs: tuple[JobReport, ...]
    provenance: Provenance
    fans: tuple[Fan, ...] = ()
    filters: tuple[Filters, ...] = ()
    histograms: tuple[Histogram, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """In the order of the study."""
        return tuple(dict.fromkeys(one.variant for one in self.comparison.variants))

    def digest(self) -> str:
        """The same for the same report; blake2b, 16 bytes, hex."""
        return digest_of(self.model_dump_json())


def arms(jobs: Mapping[int, JobReport] | tuple[JobReport, ...]) -> dict[str, list[JobReport]]:
    """By arm, in the order in which they were made."""
    found: dict[str, list[JobReport]] = {}
    for one in jobs.values() if isinstance(jobs, Mapping) else jobs:
        found.setdefault(one.arm, []).append(one)
    return found
