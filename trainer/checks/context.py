"""One spec with what its checks read: split sizes, and the model's norm layers."""

from dataclasses import dataclass

import torch

from trainer.data import Sizes, split_sizes
from trainer.errors import ModelError
from trainer.layers import drop_probability, drops
from trainer.models import Shape, build_bare_model, input_shape, require_known
from trainer.spec import DatasetInfo, JobSpec, LibraryModel, StepTraining
from trainer.surgery import NormSite, Survey, choose_sites, on_meta, shorten, survey_norms


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

    @property
    def notes(self) -> tuple[str, ...]:
        if not isinstance(self.spec.model, LibraryModel) or not self.dropout:
            return ()
        return (f"dropout layers: {shorten(self.dropout)}",)

    @property
    def sites(self) -> tuple[NormSite, ...]:
        """Where the spec's norm would be."""
        return choose_sites(self.survey, self.spec.norm) if self.survey else ()

    @property
    def batches(self) -> tuple[int, ...]:
        """The sizes of the training batches: the usual one, and an incomplete last one if it is used."""
        training, train = self.spec.training, self.sizes.train
        whole, last = divmod(train, training.batch_size)
        reached = not isinstance(training, StepTraining) or training.steps > whole
        usual = training.batch_size if whole else 0
        incomplete = last if reached and not training.drop_last else 0
        return tuple(count for count in (usual, incomplete) if count > 0)


def build_context(spec: JobSpec, info: DatasetInfo) -> CheckContext:
    """Builds the model on the meta device with its own norms, and surveys them once."""
    sizes, shape = split_sizes(spec.dataset, info), input_shape(spec, info)
    survey = unknown = unfit = None
    dropout: tuple[str, ...] = ()
    try:
        if isinstance(spec.model, LibraryModel):
            require_known(spec.model)
    except ModelError as error:
        unknown = error
    if unknown is None:
        try:
            with on_meta():
                model = build_bare_model(spec, info)
            survey = survey_norms(model, shape)
            dropout = _dropout_layers(model)
        except ModelError as error:
            unfit = error
    return CheckContext(spec, info, sizes, shape, survey, unknown, unfit, dropout)


def _dropout_layers(model: torch.nn.Module) -> tuple[str, ...]:
    return tuple(
        f"{name} (p={p:g})"
        for name, module in model.named_modules()
        if drops(module) and (p := drop_probability(module)) > 0
    )
