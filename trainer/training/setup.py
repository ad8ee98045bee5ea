"""What a training works with: set up once from its spec, and never replaced until it ends."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.data import Data, Examples, Standardize, memory_format
from trainer.data.augmentation import Augmentation, build_augmentation
from trainer.evaluation import Predictor, Probe, Task, build_probe, build_task, plain_predictor
from trainer.layers import find_synchronized, has_ramp, may_draw, synchronized
from trainer.models import build_model
from trainer.optimization import (
    Ascent,
    Average,
    GradientRule,
    Mixer,
    Penalties,
    Projection,
    build_ascent,
    build_average,
    build_gradient_rule,
    build_mixer,
    build_optimizer,
    build_penalties,
    build_projection,
    learning_rate,
    set_learning_rate,
)
from trainer.random_streams import seed_globals
from trainer.spec import JobSpec, LabelSmoothing, Numerics, Reconstruction
from trainer.training.batch_order import BatchSampler, Plan
from trainer.training.compilation import compile_model
from trainer.training.environment import describe_environment
from trainer.training.facts import Facts, describe_facts
from trainer.training.precision import use_bfloat16
from trainer.training.ranks import Ranks

#: Training splits of at most so many numbers are standardized once, 64 MB of floats.
_PREPARED_NUMBERS = 2**24


@dataclass(frozen=True, slots=True)
class Batches:
    """The examples of each step, a pure function of the step.

    `prepared`: all examples as the model is given them, where no step changes them.
    """

    spec: JobSpec
    standardize: Standardize
    prepared: Tensor | None
    examples: Examples
    sampler: BatchSampler
    task: Task
    augment: Augmentation | None
    mix: Mixer | None

    @classmethod
    def of(
        cls,
        spec: JobSpec,
        data: Data,
        task: Task,
        standardize: Standardize,
        numerics: Numerics,
        device: torch.device,
    ) -> "Batches":
        examples = Examples.of(data.train, device)
        is_fixed = not spec.augmentation and not isinstance(spec.task, Reconstruction)
        is_plain = numerics.memory_format == "contiguous" and spec.training.accumulate == 1
        is_small = examples.images.numel() <= _PREPARED_NUMBERS
        mix = build_mixer(spec, len(data.info.classes))
        prepared = None
        if is_fixed and is_plain and is_small and mix is None:
            # Elementwise, so the bits are those of any batch.
            prepared = standardize(examples.take(slice(None))[0])
        return cls(
            spec=spec,
            standardize=standardize,
            prepared=prepared,
            examples=examples,
            sampler=BatchSampler(spec.training, len(examples), spec.seed, device),
            task=task,
            augment=build_augmentation(spec.augmentation),
            mix=mix,
        )

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """The pixels of the step after `step` finished ones, augmented and mixed, and their targets."""
        seed, rows = self.spec.seed, self.sampler.indices(step)
        if self.prepared is not None:
            # Copies, not views: kernels may round by how memory is aligned.
            return self.prepared.index_select(0, rows), self.examples.labels.index_select(0, rows)
        pixels, labels = self.examples.take(rows)
        # Both seeds are functions of the step alone. An augmentation that is added to a spec draws
        # from its own stream, so batches are mixed as they were without it, and a resumed training
        # draws what it would have drawn.
        if self.augment is not None:
            seed_globals("augmentation", seed, step)
            pixels = self.augment(pixels)
        if self.mix is not None:
            seed_globals("mixing", seed, step)
            return self.mix(pixels, labels)
        return pixels, self.task.targets(pixels, labels)

    def to_inputs(self, pixels: Tensor) -> Tensor:
        """What the model is given of what `take` gives."""
        return pixels if self.prepared is not None else self.standardize(pixels)

    def split(self, pixels: Tensor, targets: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Micro-batches of equal size; the last of an incomplete batch may be smaller."""
        training = self.spec.training
        if training.accumulate == 1:
            return [(pixels, targets)]
        size = training.batch_size // training.accumulate
        return zip(torch.split(pixels, size), torch.split(targets, size), strict=True)


@dataclass(frozen=True, slots=True)
class WeightUpdate:
    """From the gradients of a whole batch to new weights."""

    optimizer: torch.optim.Optimizer
    adjust_gradients: GradientRule | None
    project: Projection | None

    @classmethod
    def of(cls, spec: JobSpec, model: nn.Module) -> "WeightUpdate":
        return cls(
            optimizer=build_optimizer(spec, model),
            adjust_gradients=build_gradient_rule(spec, model),
            project=build_projection(spec, model),
        )

    def apply(self, step: int, rate: float) -> None:
        """For the step after `step` finished ones, at this learning rate."""
        if self.adjust_gradients is not None:
            self.adjust_gradients(step)
        # Gradients are changed first; the projection comes last, since only after the step are
        # there new weights that may have left the allowed set.
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        if self.project is not None:
            self.project(rate)


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """The model's weights, the optimizer's moments, the probe and the average change as training goes on,
    and with them what a checkpoint holds (`trainer.training.state`); which objects these are does not.

    `forward` is the model, compiled where the numerics ask for it.
    """

    spec: JobSpec
    data: Data
    folder: Path
    device: torch.device
    environment: dict[str, str]
    task: Task
    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    standardize: Standardize
    batches: Batches
    val: Examples
    plan: Plan
    is_ramped: bool
    may_draw: bool
    ascent: Ascent | None
    penalties: Penalties | None
    update: WeightUpdate
    average: Average | None
    probe: Probe | None
    ranks: Ranks | None

    def learning_rate(self, step: int) -> float:
        """Of the step after `step` finished ones."""
        return learning_rate(
            self.spec.peak_learning_rate,
            self.spec.schedule,
            step,
            total_steps=self.plan.total_steps,
            period_steps=self.plan.period_steps,
        )

    def term_names(self) -> tuple[str, ...]:
        """What is added to the loss, by name."""
        smoothing = self.spec.regularizer(LabelSmoothing)
        with torch.no_grad():
            penalties = tuple(self.penalties()) if self.penalties is not None else ()
        is_smoothed = smoothing is not None and smoothing.value > 0
        return ("label_smoothing", *penalties) if is_smoothed else penalties

    @property
    def monitored(self) -> tuple[str, ...]:
        """The metrics that are kept of the best epoch."""
        measured = {"val_loss", "val_accuracy"} if self.task.has_accuracy else {"val_loss"}
        return tuple(sorted({self.spec.early_stopping.monitor, *measured}))

    @property
    def validated(self) -> nn.Module:
        """The model that is validated, kept and evaluated: the average where there is one by now."""
        if self.average is not None and self.average.is_active:
            return self.average.model
        return self.model

    def make_predictor(self) -> Predictor:
        """Of the validated model, in eval mode."""
        model = self.validated.eval()
        # Only the trained model was compiled; the average is a copy that runs as it is.
        forward: Callable[[Tensor], Tensor] = self.forward if model is self.model else model
        return plain_predictor(forward, self.standardize, self.task)

    def standardized_batches(self) -> Iterator[Tensor]:
        """The training examples in order, as they are."""
        return (self.standardize(pixels) for pixels, _ in self.batches.examples.batches())

    def describe_facts(self) -> Facts:
        return describe_facts(
            self.spec, self.data, self.model, self.update.optimizer, self.plan, self.learning_rate
        )


def set_up(
    spec: JobSpec,
    data: Data,
    folder: Path,
    numerics: Numerics,
    device: torch.device,
    ranks: Ranks | None = None,
) -> TrainingSetup:
    environment = describe_environment(numerics, device)
    task = build_task(spec)
    model = build_model(spec, data.info).to(device)
    model.to(memory_format=memory_format(numerics))
    # Before the classes of modules, by which it is known, are exchanged.
    draws = may_draw(model)
    if numerics.precision == "bf16":
        use_bfloat16(model, device)
    forward = compile_model(model, device) if numerics.compiled else model
    if ranks is not None:
        forward = _synchronize(model, forward)
    standardize = Standardize(data.info, numerics, device)
    batches = Batches.of(spec, data, task, standardize, numerics, device)
    plan = batches.sampler.plan()
    return TrainingSetup(
        spec=spec,
        data=data,
        folder=folder,
        device=device,
        environment=environment,
        task=task,
        model=model,
        forward=forward,
        standardize=standardize,
        batches=batches,
        val=Examples.of(data.val, device),
        plan=plan,
        is_ramped=has_ramp(model),
        may_draw=draws,
        ascent=build_ascent(spec, model),
        penalties=build_penalties(spec, model),
        update=WeightUpdate.of(spec, model),
        average=build_average(spec, model, plan.total_steps, plan.period_steps),
        probe=build_probe(
            spec, model, batches.examples, standardize, task, plan.total_steps, plan.period_steps
        ),
        ranks=ranks,
    )


def _synchronize(
    model: nn.Module, forward: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Only what is called by this name waits for other ranks: not the copies that rank 0 evaluates alone."""
    layers = find_synchronized(model)

    def forward_together(inputs: Tensor) -> Tensor:
        with synchronized(layers):
            return forward(inputs)

    return forward_together if layers else forward
