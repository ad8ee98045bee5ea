"""One training under way: what it works with, which stays, and how far it has come, which changes."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from runtime.files import make_folder
from trainer.data import Data, Examples, Standardize, memory_format
from trainer.data.augmentation import build_augmentation
from trainer.evaluation import (
    Evaluator,
    Outcome,
    Predictor,
    Weights,
    build_probe,
    build_task,
    plain_predictor,
)
from trainer.events import CheckpointSaved, Diagnosed, Progressed, Reason, Started
from trainer.layers import has_ramp, set_progress
from trainer.models import build_model, count_parameters
from trainer.optimization import (
    EarlyStopping,
    build_average,
    build_gradient_rule,
    build_mixer,
    build_optimizer,
    build_penalties,
    build_projection,
    has_diverged,
    is_better,
    learning_rate,
    set_learning_rate,
)
from trainer.random_streams import seed_globals
from trainer.spec import JobSpec, LabelSmoothing, Numerics
from trainer.training.batch_order import BatchSampler
from trainer.training.checkpoint import Best, State, load_best, restore, save_state, save_weights
from trainer.training.environment import describe_change, describe_environment
from trainer.training.facts import describe_facts
from trainer.training.running_metrics import RunningMetrics


class Run:
    """What a training works with is set up once; `step`, `epoch`, `sums`, `watches`, `best`, `reason`,
    the weights and their average change, and are its `State`."""

    def __init__(
        self, spec: JobSpec, data: Data, folder: Path, numerics: Numerics, device: torch.device
    ) -> None:
        self.spec, self.data, self.folder, self.device = spec, data, folder, device
        self.environment = describe_environment(numerics, device)
        self.task = build_task(spec)
        self.model = build_model(spec, data.info).to(device)
        self.model.to(memory_format=memory_format(numerics))
        # One static graph per shape, or the graph would depend on which shape came first.
        self.forward = torch.compile(self.model, dynamic=False) if numerics.compiled else self.model
        self.standardize = Standardize(data.info, numerics, device)
        self.train, self.val = Examples.of(data.train, device), Examples.of(data.val, device)
        self.order = BatchSampler(spec.training, len(self.train), spec.seed, device)
        self.plan = plan = self.order.plan()
        self._set_up_batches()
        self._set_up_steps()
        self.probe = build_probe(
            spec, self.model, self.train, self.standardize, self.task,
            plan.total_steps, plan.period_steps,
        )  # fmt: skip
        self._saves, self._saved_at = 0, time.monotonic()
        self.step, self.epoch = 0, 0
        self.running = RunningMetrics(self._term_names(), device)
        self.stopping = EarlyStopping.start(spec.early_stopping)
        self.best: Best | None = None
        self.reason: Reason | None = None

    def _set_up_batches(self) -> None:
        self._augment = build_augmentation(self.spec.augmentation)
        self._mix = build_mixer(self.spec, len(self.data.info.classes))
        self._is_ramped = has_ramp(self.model)

    def _set_up_steps(self) -> None:
        self.penalties = build_penalties(self.spec, self.model)
        self.optimizer = build_optimizer(self.spec, self.model)
        self._adjust_gradients = build_gradient_rule(self.spec, self.model)
        self._project = build_projection(self.spec, self.model)
        self.average = build_average(
            self.spec, self.model, self.plan.total_steps, self.plan.period_steps
        )

    def _term_names(self) -> tuple[str, ...]:
        """What is added to the loss, by name."""
        smoothing = self.spec.regularizer(LabelSmoothing)
        with torch.no_grad():
            penalties = tuple(self.penalties()) if self.penalties is not None else ()
        is_smoothed = smoothing is not None and smoothing.value > 0
        return ("label_smoothing", *penalties) if is_smoothed else penalties

    def resume(self, checkpoints: Sequence[CheckpointSaved]) -> tuple[str, ...]:
        """Goes on from the newest usable one; returns what a person should know about that."""
        make_folder(self.folder)
        restored = restore(checkpoints, self.folder.parent, self.device)
        if restored.state is None:
            return restored.warnings
        self._apply(restored.state)
        change = describe_change(restored.environment, self.environment)
        return restored.warnings if change is None else (*restored.warnings, change)

    def started(self, warnings: tuple[str, ...]) -> Started:
        return Started(
            first_step=self.step,
            epoch=self.epoch,
            total_steps=self.plan.total_steps,
            parameters=count_parameters(self.model),
            warnings=warnings,
            environment=self.environment,
            facts=describe_facts(
                self.spec, self.data, self.model, self.optimizer, self.plan, self.learning_rate
            ),
        )

    def learning_rate(self, step: int) -> float:
        return learning_rate(
            self.spec.peak_learning_rate,
            self.spec.schedule,
            step,
            total_steps=self.plan.total_steps,
            period_steps=self.plan.period_steps,
        )

    def take_batch(self) -> tuple[Tensor, Tensor]:
        """The pixels of the next step, augmented and mixed, and the task's targets for them."""
        seed = self.spec.seed
        pixels, labels = self.train.take(self.order.indices(self.step))
        if self._augment is not None:
            seed_globals("augmentation", seed, self.step)
            pixels = self._augment(pixels)
        if self._is_ramped:
            set_progress(self.model, self.step / self.plan.total_steps)
        if self._mix is not None:
            seed_globals("mixing", seed, self.step)
            return self._mix(pixels, labels)
        return pixels, self.task.targets(pixels, labels)

    def micro_batches(self, pixels: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Parts of equal size; the last of an incomplete batch may be smaller."""
        training = self.spec.training
        size = training.batch_size // training.accumulate
        return zip(torch.split(pixels, size), torch.split(targets, size), strict=True)

    def start_terms(self) -> dict[str, Tensor]:
        """A zero for each term of the cost that micro-batches add up to."""
        return {"label_smoothing": torch.zeros((), device=self.device)}

    def update_weights(self) -> None:
        """From the gradients of a whole batch; then the step is done."""
        rate = self.learning_rate(self.step)
        if self._adjust_gradients is not None:
            self._adjust_gradients(self.step)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        if self._project is not None:
            self._project(rate)
        self.step += 1
        if self.average is not None:
            self.average.after_step(self.model)

    def look(self) -> Diagnosed:
        assert self.probe is not None
        return self.probe.look(self.step, self.epoch + 1, self.learning_rate(self.step - 1))

    def average_weights(self) -> Iterator[Progressed]:
        """At the end of a period: brings the averaged weights, if there are any, up to date."""
        if self.average is None:
            return
        self.average.after_period(self.model, self.epoch + 1)
        if self.average.is_active:
            batches = (self.standardize(pixels) for pixels, _ in self.train.batches())
            for _ in self.average.estimate_statistics(batches):
                yield Progressed("batch statistics")

    @property
    def validated(self) -> nn.Module:
        """The model that is validated, kept and evaluated: the average where there is one by now."""
        is_averaged = self.average is not None and self.average.is_active
        return self.average.model if self.average is not None and is_averaged else self.model

    def make_predictor(self) -> Predictor:
        """Of the validated model, in eval mode."""
        model = self.validated.eval()
        forward: Callable[[Tensor], Tensor] = self.forward if model is self.model else model
        return plain_predictor(forward, self.standardize, self.task)

    def close_period(self, validation: Outcome) -> tuple[dict[str, float], bool]:
        """Syncs with the device, once; returns the period's metrics and whether it is the best."""
        metrics = self._metrics(validation)
        self.epoch += 1
        self.running.reset()
        diverged, monitor = has_diverged(metrics), self.spec.early_stopping.monitor
        best = self.best.metrics[monitor] if self.best else None
        is_best = not diverged and is_better(monitor, metrics[monitor], best)
        self.stopping = self.stopping.observe(metrics)
        if diverged:
            self.reason = "diverged"
        elif self.step == self.plan.total_steps:
            self.reason = "completed"
        elif self.stopping.stops:
            self.reason = "early_stopped"
        return metrics, is_best

    def is_save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.spec.training.checkpoint_seconds

    def save(self) -> CheckpointSaved:
        self._saves += 1
        path = self.folder / f"last-{self._saves:04d}-step-{self.step:08d}.pt"
        saved = save_state(self._state(), self.environment, path)
        self._saved_at = time.monotonic()
        return saved

    def save_best(self, metrics: Mapping[str, float]) -> CheckpointSaved:
        path = self.folder / f"best-epoch-{self.epoch:05d}.pt"
        saved = save_weights(self.validated, self.epoch, self.step, path)
        self.best = Best(
            epoch=self.epoch,
            metrics={name: metrics[name] for name in self._best_names()},
            path=f"{self.folder.name}/{path.name}",
            digest=saved.digest,
        )
        return saved

    def make_evaluator(self) -> Evaluator:
        weights = Weights(
            best=load_best(self.best, self.folder.parent, self.device) if self.best else None,
            last=self.validated.state_dict() if self.reason != "diverged" else None,
        )
        return Evaluator(
            self.spec, self.data, self.folder, self.model, weights, self.standardize, self.task
        )

    def summary(self) -> dict[str, float]:
        """What `Finished` says besides the evaluations; NaN where no period was finite. `best_*` are
        the values of the best epoch by the monitored metric, not each metric's own best.
        `stop_epoch_*`: where each stopping rule would have ended this curve."""
        names = self._best_names()
        values = self.best.metrics if self.best else dict.fromkeys(names, math.nan)
        return {
            "epochs": self.epoch,
            "steps": self.step,
            "best_epoch": self.best.epoch if self.best else math.nan,
            **{f"best_{name}": values[name] for name in names},
            **{f"stop_epoch_{rule}": float(epoch) for rule, epoch in self.stopping.stopped.items()},
        }

    def _best_names(self) -> list[str]:
        measured = {"val_loss", "val_accuracy"} if self.task.has_accuracy else {"val_loss"}
        return sorted({self.spec.early_stopping.monitor, *measured})

    def _metrics(self, validation: Outcome) -> dict[str, float]:
        """Takes `step` back to the first one that was not finite, if there was one."""
        count = len(self.running.values)
        values = torch.cat((self.running.values, validation.sums)).tolist()
        sums, (val_loss, val_hits, val_examples) = values[:count], values[count:]
        # After a non-finite step the weights depend on when that was noticed.
        self.step = self.plan.period_end(self.epoch) + RunningMetrics.steps(sums)
        has_accuracy, seen = self.task.has_accuracy, RunningMetrics.seen(sums)
        metrics = self.running.metrics(sums, accuracy=has_accuracy)
        metrics["val_loss"] = seen * val_loss / val_examples
        if has_accuracy:
            metrics["val_accuracy"] = seen * val_hits / val_examples
        return {**metrics, "learning_rate": self.learning_rate(self.step - 1)}

    def _state(self) -> State:
        return State(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict()["state"],
            step=self.step,
            epoch=self.epoch,
            sums=self.running.values,
            watches=self.stopping.state(),
            average=self.average.state() if self.average is not None else None,
            best=self.best,
            reason=self.reason,
        )

    def _apply(self, state: State) -> None:
        self.model.load_state_dict(state.model)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        self.step, self.epoch, self.running.values = state.step, state.epoch, state.sums
        self.stopping = EarlyStopping.restore(self.spec.early_stopping, state.watches)
        if self.average is not None and state.average is not None:
            self.average.restore(state.average)
        self.best, self.reason = state.best, state.reason
