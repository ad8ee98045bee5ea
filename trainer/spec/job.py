"""The job spec itself, what follows training, what a job may use, and the content hash."""

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar

from pydantic import Field, field_validator, model_validator

from runtime.files import digest_of
from trainer.spec.augmentation import AugmentationSpec
from trainer.spec.dataset import DatasetSpec, Shift
from trainer.spec.diagnostics import DiagnosticsSpec, NoDiagnostics
from trainer.spec.model import DefaultInit, InitFrom, InitSpec, ModelSpec, PluginModel
from trainer.spec.norm import NormSpec, PlainWeights, WeightsSpec
from trainer.spec.optimization import (
    Constant,
    EpochTraining,
    LeastSquares,
    NoStopping,
    OptimizerSpec,
    Precision,
    ScheduleSpec,
    Sgd,
    StoppingSpec,
    TrainingSpec,
)
from trainer.spec.part import (
    Count,
    Duration,
    FieldValueError,
    FromPlugin,
    InstalledPackage,
    Name,
    Part,
    Seed,
)
from trainer.spec.regularization import RegularizerSpec
from trainer.spec.task import Classification, TaskSpec

VERSION: Final = 1
#: Of one job: as many as the largest hosts have.
MOST_DEVICES: Final = 16

AnyPart = TypeVar("AnyPart", bound=Part)
AnyPlugin = TypeVar("AnyPlugin", bound=FromPlugin)

Output: TypeAlias = Literal[
    "predictions",
    "filters",
    "weights",
    "activations",
    "responses",
    "grid",
    "mc_curve",
    "augmented",
]


class Evaluation(Part):
    """One evaluation after training; its scalars are named `<prefix>_loss` and `<prefix>_accuracy`."""

    name: Annotated[
        str | None, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$", description="prefix of its metrics")
    ] = None
    weights: Literal["best", "last"] = "best"
    split: Literal["train", "val", "test"] = "test"
    mode: Annotated[
        Literal["eval", "mc_dropout"],
        Field(description="mc_dropout: the mean of 50 passes with dropout on"),
    ] = "eval"
    shift: Shift | None = None
    outputs: Annotated[
        tuple[Output, ...],
        Field(
            description="small arrays kept as files, some with scalars for the metrics: predictions; "
            "filters: the first layer's weights (filter_kurtosis); weights: a histogram of each "
            "layer's (weight_norm, near_zero, exact_zero); activations: percentiles at every norm "
            "(mean_activation, active_fraction, hoyer, variance_ratio, activation_shift); responses: "
            "maps before and after the first norm; grid: predictions over one or two features; "
            "mc_curve: error over the number of masks averaged; augmented: examples and one draw of each"
        ),
    ] = ()

    # Left out of documents at its default, as in the documents from before it was there.
    metrics: Annotated[
        tuple[FromPlugin, ...],
        Field(
            max_length=16,
            exclude_if=operator.not_,
            description="further scalars, by functions of packages of plugins, named `<prefix>_<name of the function>`",
        ),
    ] = ()

    @field_validator("metrics")
    @classmethod
    def _metrics_once(cls, value: tuple[FromPlugin, ...]) -> tuple[FromPlugin, ...]:
        names = [one.entry for one in value]
        _no_repeats(names, "metrics")
        if taken := sorted({*names} & {"loss", "accuracy"}):
            raise ValueError(f"every evaluation has a metric named {taken[0]}")
        return value

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str | None) -> str | None:
        if value is not None and value.split("_")[0] in ("best", "train", "val"):
            raise ValueError(
                f"names beginning with best, train or val are taken, but got {value!r}"
            )
        return value

    @property
    def prefix(self) -> str:
        """`test` for the usual evaluation; what differs from it comes before: `last_mc_dropout_test`."""
        parts = [
            "last" if self.weights == "last" else "",
            "mc_dropout" if self.mode == "mc_dropout" else "",
            "shifted" if self.shift else "",
            self.split if self.split == "test" else f"final_{self.split}",
        ]
        return self.name or "_".join(part for part in parts if part)


Priority: TypeAlias = Literal["low", "normal", "high", "urgent"]


class Resources(Part):
    """What a job may use; of it, only `devices` changes a result: by rounding, by what each device drops, and by
    batch statistics that are each device's own."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=MOST_DEVICES,
            description="GPUs of one host, or slots of its CPU; each trains on its part of every batch",
        ),
    ] = 1
    # Left out of documents at its default, as in the documents from before it was there.
    exclusive: Annotated[
        bool,
        Field(
            exclude_if=operator.not_,
            description="whole devices: no other job has a slot of them meanwhile, so that times can be compared",
        ),
    ] = False
    timeout: Annotated[Duration, Field(description="training time over all attempts")] = 3600.0
    priority: Priority = "normal"
    max_attempts: Annotated[
        int, Field(strict=True, ge=1, le=10, description="lost, stalled, oom and error count")
    ] = 3


#: Of `resources`, what changes no result: for pydantic's `exclude`.
NEUTRAL_RESOURCES: Final[Mapping[str, Any]] = {
    field: True for field in Resources.model_fields if field != "devices"
}


def _is_none(value: Any) -> bool:
    return value is None


def _no_repeats(kinds: list[str], what: str) -> None:
    repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if repeated:
        raise ValueError(f"{what} may appear once each but {', '.join(repeated)} is repeated")


class JobSpec(Part):
    """One complete, validated description of one training."""

    version: Literal[1] = 1
    project: Name = "default"
    dataset: DatasetSpec
    task: TaskSpec = Classification(kind="classification")
    model: ModelSpec
    norm: NormSpec
    weights: WeightsSpec = PlainWeights(kind="plain")
    init: InitSpec = DefaultInit(kind="default")
    # Left out of documents at its default, as in the documents from before it was there.
    init_from: Annotated[InitFrom | None, Field(exclude_if=_is_none)] = None
    regularization: Annotated[tuple[RegularizerSpec, ...], Field(max_length=32)] = ()
    augmentation: Annotated[tuple[AugmentationSpec, ...], Field(max_length=32)] = ()
    optimizer: OptimizerSpec = Sgd(kind="sgd")
    schedule: ScheduleSpec = Constant(kind="constant")
    training: TrainingSpec = EpochTraining()
    early_stopping: StoppingSpec = NoStopping(kind="none")
    diagnostics: DiagnosticsSpec = NoDiagnostics(kind="off")
    evaluations: Annotated[tuple[Evaluation, ...], Field(max_length=32)] = (Evaluation(),)
    seed: Seed = 0
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, value: Any) -> Any:
        return upgrade(value) if isinstance(value, dict) else value

    @field_validator("regularization")
    @classmethod
    def _regularizers_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        _no_repeats([item.kind for item in value], "regularizers")
        return value

    @field_validator("evaluations")
    @classmethod
    def _prefixes_once(cls, value: tuple[Evaluation, ...]) -> tuple[Evaluation, ...]:
        _no_repeats([item.prefix for item in value], "evaluation names")
        return value

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        training, warmup = self.training, self.schedule.warmup_epochs
        # In steps where they are known: the last period of a training by steps may be cut short.
        if isinstance(training, EpochTraining):
            whole, length = training.epochs, 1
        else:
            whole, length = training.steps, training.eval_every
        if warmup * length >= whole:
            raise FieldValueError(
                f"must be below the {whole / length:g} evaluation periods but got {warmup:g}",
                "schedule",
                "warmup_epochs",
            )
        return self

    @property
    def periods(self) -> int:
        """Evaluation periods at most: epochs, or steps / eval_every rounded up."""
        training = self.training
        if isinstance(training, EpochTraining):
            return training.epochs
        return -(-training.steps // training.eval_every)

    @property
    def peak_learning_rate(self) -> float:
        """What the schedule starts from or warms up to; 1 of least squares, which has no rate."""
        optimizer = self.optimizer
        if isinstance(optimizer, LeastSquares):
            return 1.0
        if optimizer.lr_batch_size is None:
            return optimizer.lr
        return optimizer.lr * self.training.batch_size / optimizer.lr_batch_size

    @property
    def plugins(self) -> Mapping[str, InstalledPackage | None]:
        """By kind and name (`model:tiny`), the packages that they come from; None before it is submitted."""
        return {key: plugin.installed for key, _, plugin in self._list_plugins()}

    @property
    def plugin_places(self) -> Mapping[str, str]:
        """By kind and name, where they stand in the spec."""
        return {key: place for key, place, _ in self._list_plugins()}

    def _list_plugins(self) -> Iterator[tuple[str, str, FromPlugin]]:
        if isinstance(self.model, PluginModel):
            yield f"model:{self.model.entry}", "/model", self.model
        for index, evaluation in enumerate(self.evaluations):
            for number, metric in enumerate(evaluation.metrics):
                yield f"metric:{metric.entry}", f"/evaluations/{index}/metrics/{number}", metric

    @property
    def packages(self) -> tuple[InstalledPackage, ...]:
        """Of its plugins, each once."""
        return tuple(dict.fromkeys(one for one in self.plugins.values() if one is not None))

    def with_packages(self, packages: Mapping[str, InstalledPackage]) -> Self:
        """With those that its plugins come from, by kind and name."""
        if not packages:
            return self

        def pin(kind: str, plugin: AnyPlugin) -> AnyPlugin:
            package = packages.get(f"{kind}:{plugin.entry}", plugin.installed)
            return plugin.model_copy(update={"installed": package})

        evaluations = tuple(
            one.model_copy(
                update={"metrics": tuple(pin("metric", metric) for metric in one.metrics)}
            )
            for one in self.evaluations
        )
        model = pin("model", self.model) if isinstance(self.model, PluginModel) else self.model
        return self.model_copy(update={"model": model, "evaluations": evaluations})

    def regularizer(self, kind: type[AnyPart]) -> AnyPart | None:
        """The regularizer of this class, or None."""
        return next((item for item in self.regularization if isinstance(item, kind)), None)


#: From version n to n + 1; a row of any age stays readable.
Upgrades: TypeAlias = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
UPGRADES: Upgrades = {}


def upgrade(
    document: dict[str, Any], upgrades: Upgrades = UPGRADES, present: int = VERSION
) -> dict[str, Any]:
    """The same spec in the present version; an unknown version is left for validation to refuse."""
    version = document.get("version", present)
    while isinstance(version, int) and version in upgrades:
        document = {**upgrades[version](document), "version": version + 1}
        version += 1
    return document


def content_hash(spec: JobSpec, dataset_digest: str) -> str:
    """A digest of what determines the job's result: not the project, and of the resources only how many devices."""
    content = spec.model_dump(
        mode="json",
        exclude={"project": True, "resources": True, "training": {"checkpoint_seconds"}},
    )
    # One device is what specs had from before there could be several.
    if spec.resources.devices > 1:
        content["devices"] = spec.resources.devices
    text = json.dumps([content, dataset_digest], sort_keys=True, separators=(",", ":"))
    return digest_of(text)


#: Models and norms that a CPU trains faster on channels-last maps, and as exactly, from the least width on: of narrower
#: maps batch norm takes longer than convolutions save. Group and layer norm lose digits on them, and instance norm
#: time; of residual networks it depends on the images.
CHANNELS_LAST: Final[frozenset[tuple[str, str]]] = frozenset(
    (model, norm) for model in ("cnn", "alexnet_small") for norm in ("none", "batch")
)
CHANNELS_LAST_WIDTH: Final = 16

#: Of numerics, what each job's spec decides, and the field of its `training` that does.
ASKED_FOR: Final[Mapping[str, str]] = {"precision": "precision", "compiled": "compile"}


class Numerics(Part):
    """What changes numerics: decided once per study, at its first claim, but for what is `ASKED_FOR`."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: Count = 1
    precision: Precision = "float32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compiled: bool = False
    deterministic: bool = True

    def for_job(self, document: Mapping[str, Any]) -> "Numerics":
        """With what the job's spec asks for."""
        training = document.get("training", {})
        asked = {name: training[field] for name, field in ASKED_FOR.items() if field in training}
        return Numerics.model_validate({**self.model_dump(exclude=set(ASKED_FOR)), **asked})
