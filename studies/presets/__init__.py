"""The catalogue: studies that reproduce a result of the literature and say whether its claims hold here. One
YAML file each, beside this one; nothing in it is more than any user can write.

`study` is what all scales share; a scale adds its own, then the chosen dataset its own. The digest is of
all that the verdicts rest on (studies and claims, not the words around them): what it was when the preset
first ran stands in the file, with every change since, so that nothing is tuned in silence. Scale medium has a
digest, a first run and changes of its own.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from runtime.documents import read_document
from studies.spec import StudySpec, expand, merged, read_study
from trainer.problems import did_you_mean
from trainer.spec import Name, Part

Scale = Literal["toy", "small", "medium", "full"]

#: Where a preset's dataset comes from when it isn't there: the hub's commit is part of the experiment.
SOURCES: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "kind": "hugging_face",
        "repository": "ylecun/mnist",
        "revision": "77f3279092a1c1579b2250db8eafed0ad422088c",
    },
    "cifar10": {
        "kind": "hugging_face",
        "repository": "uoft-cs/cifar10",
        "revision": "0b2714987fa478483af9968de7c934580d0bb9a2",
        "image": "img",
    },
    "imagenet": {"kind": "image_folder", "path": "FOLDER", "size": "224"},
}
#: A folder of one's own instead of the hub.
FOLDERS = {"mnist": "parquet:FOLDER", "cifar10": "parquet:FOLDER --image img"}

#: The presets as one reads them, by the question that they are about.
CHAPTERS: Mapping[str, tuple[str, ...]] = {
    "Underfitting, overfitting, and when to stop": (
        "underfit-overfit-regression",
        "underfit-overfit-classification",
        "iterations",
        "early-stopping",
    ),
    "Penalties on weights": ("l1-l2",),
    "Data augmentation": ("augmentation",),
    "Dropout": ("dropout-train-test", "dropout-data-size", "dropout-features"),
    "Why to normalize": (
        "gradient-challenges",
        "why-normalization",
        "activation-drift",
        "bn-learning-rate",
    ),
    "Which norm": (
        "norms-compared",
        "batch-size-sensitivity",
        "gradient-accumulation-with-norms",
        "bn-frozen-finetuning",
        "group-number",
        "lrn",
        "dyt-when-data-are-scarce",
    ),
    "Norms together with other regularization": ("weight-decay-with-norm", "bn-dropout-clash"),
}


class UnknownPreset(LookupError):
    """There is no preset of this name."""


class NotOffered(ValueError):
    """The preset has no such scale, or the scale no such dataset; `field` is which."""

    def __init__(self, field: str, value: str, offered: Iterable[str]) -> None:
        names = list(offered)
        meant = did_you_mean(value, names)
        super().__init__(f"must be one of {', '.join(names)}, but got {value!r}{meant}")
        self.field = field


class Change(Part):
    """What was changed in the study or its claims after the first run, and why; `digest` is of the result."""

    what: Annotated[str, Field(min_length=1)]
    why: Annotated[str, Field(min_length=1)]
    digest: str


class ScaleSpec(Part):
    """One size of the study. `datasets`: name → what it changes; the first is the default."""

    takes: Annotated[str, Field(description="how long, on what: as measured, or not run")] = ""
    study: Annotated[dict[str, Any], Field(default_factory=dict)]
    datasets: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    first_run: Annotated[str | None, Field(description="of medium alone, as of a preset")] = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Registration:
    """What was fixed before a first run: the digest of studies and claims now, the one when they first ran (None:
    they haven't), and the changes since."""

    digest: str
    first_run: str | None
    changes: tuple[Change, ...]

    def check(self, what: str) -> None:
        """Raises `ValueError` where a change isn't told."""
        told = self.changes[-1].digest if self.changes else self.first_run
        if told not in (None, self.digest):
            raise ValueError(
                f"the study or its claims have changed since {what} first ran ({told}, now "
                f"{self.digest}): add what and why to `changes`"
            )


class Preset(Part):
    """A study of the catalogue, with the literature it is after."""

    name: Name
    title: str
    topic: Annotated[str, Field(description="of the lectures")]
    paper: str
    text: Annotated[str, Field(description="what is asked, and how")]
    caveats: tuple[str, ...] = ()
    measured: Annotated[
        str, Field(description="what others found at a small scale, and why this may differ")
    ] = ""
    study: dict[str, Any]
    scales: Annotated[dict[Scale, ScaleSpec], Field(min_length=1)]
    first_run: Annotated[
        str | None, Field(description="the digest when the preset first ran; none: it hasn't")
    ] = None
    changes: tuple[Change, ...] = ()

    @model_validator(mode="after")
    def _changes_are_told(self) -> "Preset":
        self.registration("small").check("the preset")
        self.registration("medium").check("scale medium")
        for name, scale in self.scales.items():
            if name != "medium" and (scale.first_run or scale.changes):
                raise ValueError(f"scale {name} has no first run of its own: say the preset's")
        return self

    def registration(self, scale: str) -> Registration:
        """Of scale medium, or of all others together."""
        own = self.scales.get("medium")
        if scale == "medium" and own is not None:
            return Registration(self._digest("medium"), own.first_run, own.changes)
        others = (name for name in self.scales if name not in ("toy", "medium"))
        return Registration(self._digest(*others), self.first_run, self.changes)

    def _digest(self, *scales: str) -> str:
        """Of the studies with their claims, without figures: blake2b, 8 bytes, hex."""
        chosen = {name: _content_of(one) for name, one in self.scales.items() if name in scales}
        text = json.dumps([_content(self.study), chosen], sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def usual_scale(self) -> Scale:
        """What is shown and run unless another one is asked for."""
        return "small" if "small" in self.scales else next(iter(self.scales))

    def datasets(self, scale: str) -> Sequence[str]:
        """Nothing of a scale that it doesn't have."""
        return [name for key, size in self.scales.items() if key == scale for name in size.datasets]

    def document(self, scale: str, dataset: str | None = None) -> dict[str, Any]:
        """The study document of this size on this dataset; raises `NotOffered`."""
        chosen = next((one for name, one in self.scales.items() if name == scale), None)
        if chosen is None:
            raise NotOffered("scale", scale, self.scales)
        name = dataset or next(iter(chosen.datasets))
        if name not in chosen.datasets:
            raise NotOffered("dataset", name, chosen.datasets)
        start = {
            "name": f"{self.name} · {scale} · {name}",
            "project": "presets",
            "description": self.title,
            "base": {"dataset": {"name": name}},
        }
        document = start
        for part in (self.study, chosen.study, chosen.datasets[name]):
            document = merged(document, part)
        return document

    def study_spec(self, scale: str, dataset: str | None = None) -> StudySpec:
        """Raises `NotOffered`."""
        return read_study(self.document(scale, dataset))

    def cells(self, scale: str) -> int:
        """Final trainings on the default dataset."""
        return len(expand(self.study_spec(scale)))


class PresetRun(Part):
    """Which preset a study came from, as its file was then; `own_seeds`: it ran on others than the preset's."""

    name: str
    scale: str
    dataset: str
    digest: str
    title: str
    topic: str
    paper: str
    text: str
    caveats: tuple[str, ...]
    measured: str
    first_run: str | None
    changes: tuple[Change, ...]
    own_seeds: bool = False

    @classmethod
    def of(
        cls, preset: Preset, scale: str, dataset: str | None, own_seeds: bool = False
    ) -> "PresetRun":
        name = dataset or next(iter(preset.scales[scale].datasets))  # type: ignore[index]
        words = ("name", "title", "topic", "paper", "text", "caveats", "measured")
        registration = preset.registration(scale)
        return cls(
            scale=scale,
            dataset=name,
            own_seeds=own_seeds,
            digest=registration.digest,
            first_run=registration.first_run,
            changes=registration.changes,
            **{word: getattr(preset, word) for word in words},
        )

    @property
    def provenance(self) -> str:
        """Which preset, of what digest, and whether it is what it was."""
        seeds = ", on other seeds than its own" if self.own_seeds else ""
        head = f"Preset {self.name} at scale {self.scale} on {self.dataset}{seeds}, digest {self.digest}"
        if self.first_run is None:
            return f"{head}: its first run."
        if not self.changes:
            return f"{head}: unchanged since its first run."
        return f"{head}. It first ran as {self.first_run}, and was changed since:"

    def change_log(self) -> tuple[str, ...]:
        """A sentence each."""
        return tuple(f"{one.what}: {one.why} (digest {one.digest})" for one in self.changes)


@cache
def presets() -> dict[str, Preset]:
    """All of the catalogue, by name, in alphabetical order."""
    files = (one for one in resources.files(__name__).iterdir() if one.name.endswith(".yaml"))
    return {
        file.name.removesuffix(".yaml"): read_preset(file.name, file.read_text())
        for file in sorted(files, key=lambda one: one.name)
    }


def find_preset(name: str) -> Preset:
    """Raises `UnknownPreset`."""
    try:
        return presets()[name]
    except KeyError:
        detail = f"there is no preset {name!r}{did_you_mean(name, presets())}"
        raise UnknownPreset(f"{detail} (the presets are {', '.join(presets())})") from None


def read_preset(file: str, text: str) -> Preset:
    """The preset in a file of this name: the name stands nowhere else."""
    document = read_document(text)
    return Preset.model_validate({**document, "name": file.removesuffix(".yaml")})


def how_to_register(dataset: str) -> str | None:
    """The command, of a dataset that doesn't come with Normlab; None of another."""
    if dataset not in SOURCES:
        return None
    command = f"normlab dataset add {dataset} {_as_argument(SOURCES[dataset])} --wait"
    own = FOLDERS.get(dataset)
    return f"{command}{f' (or from a folder of your own: {own})' if own else ''}"


def _as_argument(source: Mapping[str, str]) -> str:
    """`hugging_face:OWNER/NAME@COMMIT --image img`"""
    match source:
        case {"kind": kind, "repository": repository, "revision": revision, **options}:
            place = f"{repository}@{revision}"
        case {"kind": kind, "path": place, **options}:
            pass
        case _:
            raise AssertionError(source)
    return " ".join([f"{kind}:{place}", *(f"--{name} {value}" for name, value in options.items())])


def _content_of(scale: ScaleSpec) -> Any:
    datasets = {name: _content(one) for name, one in scale.datasets.items()}
    return {"study": _content(scale.study), "datasets": datasets}


def _content(study: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in study.items() if name not in ("figure", "description")}
