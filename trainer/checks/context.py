"""One spec with what its checks read: split sizes, and the model's norm layers."""

import json
from dataclasses import dataclass
from functools import lru_cache

import torch

from trainer.data import Sizes, split_sizes
from trainer.errors import ModelError
from trainer.layers import drop_probability, drops
from trainer.models import (
    Shape,
    ZeroFills,
    build_bare_model,
    input_shape,
    load_model_function,
    require_known,
)
from trainer.spec import (
    BatchNorm,
    DatasetInfo,
    JobSpec,
    LibraryModel,
    LocalResponseNorm,
    NoNorm,
    PluginModel,
    SharpnessAware,
    StepTraining,
)
from trainer.surgery import NormSite, Survey, choose_sites, on_meta, shorten, survey_norms

#: Of a spec, what the network doesn't depend on.
BESIDE_THE_NETWORK = {
    "project", "optimizer", "schedule", "training", "early_stopping", "evaluations", "seed", "resources",
    "init_from",
}  # fmt: skip
#: The arms of a study often train one network by many settings, and ask one after the other.
_MOST_NETWORKS = 64


@dataclass(frozen=True, slots=True)
class CheckContext:
    """`survey` is None where the model cannot be built or run; one of the errors says why."""

    spec: JobSpec
    info: DatasetInfo
    sizes: Sizes
    shape: Shape
    survey: Survey | None
    unknown: ModelError | None
    unfit: ModelError | None
    #: The layers that drop something, with their p.
    dropout: tuple[str, ...] = ()
    #: The gains of the model as it is built that begin at zero.
    zero_gains: tuple[str, ...] = ()

    @property
    def shut_gains(self) -> tuple[str, ...]:
        """Gains that begin at zero and shut a branch: not those that go with the model's norms, nor those before a norm
        that the spec puts behind them, which takes out how small they are."""
        has_gain = not isinstance(self.spec.norm, NoNorm | LocalResponseNorm)
        without = {site.name for site in self.sites if site.follows or not has_gain}
        return tuple(name for name in self.zero_gains if name.rpartition(".")[0] not in without)

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if isinstance(self.spec.model, LibraryModel | PluginModel) and self.dropout:
            notes.append(f"dropout layers: {shorten(self.dropout)}")
        if self.spec.regularizer(SharpnessAware) is not None:
            notes.append("sam takes two forward and backward passes a step: about twice the time")
        return tuple(notes)

    @property
    def sites(self) -> tuple[NormSite, ...]:
        """Where the spec's norm would be."""
        return choose_sites(self.survey, self.spec.norm) if self.survey else ()

    @property
    def normalizing_ranks(self) -> int:
        """Into how many parts a batch falls for norms over batches: each device takes statistics of its own."""
        norm = self.spec.norm
        is_whole = isinstance(norm, BatchNorm) and norm.sync
        return 1 if is_whole else self.spec.resources.devices

    @property
    def batches(self) -> tuple[int, ...]:
        """The sizes of the training batches: the usual one, and an incomplete last one if it is used."""
        training, train = self.spec.training, self.sizes.train
        whole, last = divmod(train, training.batch_size)
        reached = not isinstance(training, StepTraining) or training.steps > whole
        usual = training.batch_size if whole else 0
        incomplete = last if reached and not training.drop_last else 0
        return tuple(count for count in (usual, incomplete) if count > 0)


def describe_network(spec: JobSpec, *, is_batch_of_one: bool = False) -> str:
    """The spec of the network alone, as JSON: all else has its defaults, except that a batch of one image says so."""
    document = spec.model_dump(mode="json", exclude=BESIDE_THE_NETWORK)
    if is_batch_of_one:
        document["training"] = {"batch_size": 1}
    return json.dumps(document)


def build_context(spec: JobSpec, info: DatasetInfo) -> CheckContext:
    """Builds the model on the meta device with its own norms, and surveys them once."""
    sizes, shape = split_sizes(spec.dataset, info), input_shape(spec, info)
    survey = unknown = unfit = None
    dropout: tuple[str, ...] = ()
    zero_gains: tuple[str, ...] = ()
    try:
        if isinstance(spec.model, LibraryModel):
            require_known(spec.model)
        elif isinstance(spec.model, PluginModel):
            load_model_function(spec.model)
    except ModelError as error:
        unknown = error
    if unknown is None:
        try:
            survey, dropout, zero_gains = _survey(describe_network(spec), info.model_dump_json())
        except ModelError as error:
            unfit = error
    return CheckContext(spec, info, sizes, shape, survey, unknown, unfit, dropout, zero_gains)


@lru_cache(maxsize=_MOST_NETWORKS)
def _survey(network: str, info: str) -> tuple[Survey, tuple[str, ...], tuple[str, ...]]:
    """Of the model with its own norms, the layers that drop something, and the gains that begin at zero. What is kept
    is a function of these two texts, because it is made from them."""
    spec, dataset = JobSpec.model_validate_json(network), DatasetInfo.model_validate_json(info)
    with on_meta(), ZeroFills() as fills:
        model = build_bare_model(spec, dataset)
    survey = survey_norms(model, input_shape(spec, dataset))
    return survey, _dropout_layers(model), fills.find_gains(model)


def _dropout_layers(model: torch.nn.Module) -> tuple[str, ...]:
    return tuple(
        f"{name} (p={p:g})"
        for name, module in model.named_modules()
        if drops(module) and (p := drop_probability(module)) > 0
    )
