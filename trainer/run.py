"""One training under way: what it works with, which stays, and how far it has come, which changes.

Knows no order of events: that is the loop's.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer.augmentation import build_augmentation
from trainer.checkpoint import (
    Best,
    State,
    load_best,
    make_folder,
    restore,
    save_state,
    save_weights,
)
from trainer.data import Data
from trainer.environment import describe_change, describe_environment
from trainer.evaluate import Evaluator, Outcome, Weights
from trainer.events import CheckpointSaved, Reason, Started
from trainer.examples import Examples, Standardize, memory_format
from trainer.models import build_model, count_parameters
from trainer.optim import build_optimizer, learning_rate
from trainer.order import Order
from trainer.regularizers import build_penalty
from trainer.spec import JobSpec, Numerics
from trainer.stopping import Waiting, has_diverged, has_waited_enough, is_better, wait


class Run:
    """`sums` holds the period's loss, hits, examples, penalty and steps, added up on the device."""

    def __init__(
        self, spec: JobSpec, data: Data, folder: Path, numerics: Numerics, device: torch.device
    ) -> None:
        self.spec, self.data, self.folder, self.device = spec, data, folder, device
        self.environment = describe_environment(numerics, device)
        self.model = build_model(spec, data.info).to(device)
        self.model.to(memory_format=memory_format(numerics))
        # One static graph per shape, or the graph would depend on which shape came first.
        self.forward = torch.compile(self.model, dynamic=False) if numerics.compiled else self.model
        self.optimizer = build_optimizer(spec, self.model)
        self.penalty = build_penalty(spec, self.model)
        self.augment = build_augmentation(spec.augmentation)
        self.standardize = Standardize(data.info, numerics, device)
        self.train, self.val = Examples.of(data.train, device), Examples.of(data.val, device)
        self.order = Order(spec.training, len(self.train), spec.seed, device)
        self.plan = self.order.plan()
        self._saves, self._saved_at = 0, time.monotonic()
        self.step, self.epoch = 0, 0
        self.sums = torch.zeros(5, dtype=torch.float64, device=device)
        self.waiting = Waiting()
        self.best: Best | None = None
        self.reason: Reason | None = None

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
        )

    def learning_rate(self, step: int) -> float:
        return learning_rate(
            self.spec.optimizer.lr,
            self.spec.schedule,
            step,
            total_steps=self.plan.total_steps,
            period_steps=self.plan.period_steps,
        )

    def add(self, scores: Tensor, penalty: Tensor | None) -> None:
        """Adds one step to the period's sums, which stay as they are once they are not finite: what
        a diverged period reports must not depend on how soon someone looked."""
        extra = scores.new_zeros(()) if penalty is None else penalty.detach() * scores[2]
        added = self.sums + torch.cat((scores, torch.stack((extra, torch.ones_like(extra)))))
        self.sums = torch.where(self.sums.isfinite().all(), added, self.sums)

    def has_finite_sums(self) -> bool:
        """Syncs with the device."""
        return bool(self.sums.isfinite().all())

    def close_period(self, validation: Outcome) -> tuple[dict[str, float], bool]:
        """Syncs with the device, once; returns the period's metrics and whether it is the best."""
        metrics = self._metrics(validation)
        self.epoch += 1
        self.sums = torch.zeros_like(self.sums)
        diverged, stopping = has_diverged(metrics), self.spec.early_stopping
        best = self.best.metrics[stopping.monitor] if self.best else None
        is_best = not diverged and is_better(stopping.monitor, metrics[stopping.monitor], best)
        self.waiting = wait(stopping, self.waiting, metrics)
        if diverged:
            self.reason = "diverged"
        elif self.step == self.plan.total_steps:
            self.reason = "completed"
        elif has_waited_enough(stopping, self.waiting):
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
        saved = save_weights(self.model, self.epoch, self.step, path)
        kept = {self.spec.early_stopping.monitor, "val_loss", "val_accuracy"}
        self.best = Best(
            epoch=self.epoch,
            metrics={name: metrics[name] for name in sorted(kept)},
            path=f"{self.folder.name}/{path.name}",
            digest=saved.digest,
        )
        return saved

    def make_evaluator(self) -> Evaluator:
        weights = Weights(
            best=load_best(self.best, self.folder.parent, self.device) if self.best else None,
            last=self.model.state_dict() if self.reason != "diverged" else None,
        )
        return Evaluator(self.spec, self.data, self.folder, self.model, weights, self.standardize)

    def summary(self) -> dict[str, float]:
        """What `Finished` says besides the evaluations; NaN where no period was finite. `best_*` are
        the values of the best epoch by the monitored metric, not each metric's own best."""
        names = sorted({self.spec.early_stopping.monitor, "val_loss", "val_accuracy"})
        values = self.best.metrics if self.best else dict.fromkeys(names, math.nan)
        return {
            "epochs": self.epoch,
            "steps": self.step,
            "best_epoch": self.best.epoch if self.best else math.nan,
            **{f"best_{name}": values[name] for name in names},
        }

    def _metrics(self, validation: Outcome) -> dict[str, float]:
        """Takes `step` back to the first one that was not finite, if there was one."""
        sums = torch.cat((self.sums, validation.sums)).tolist()
        loss, hits, examples, penalty, steps, val_loss, val_hits, val_examples = sums
        # After a non-finite step the weights depend on when that was noticed.
        self.step = self.plan.period_end(self.epoch) + int(steps)
        seen = math.nan if not math.isfinite(loss + penalty) else 1.0
        return {
            "train_loss": loss / examples,
            "train_cost": (loss + penalty) / examples,
            "train_accuracy": hits / examples,
            "val_loss": seen * val_loss / val_examples,
            "val_accuracy": seen * val_hits / val_examples,
            "learning_rate": self.learning_rate(self.step - 1),
        }

    def _state(self) -> State:
        return State(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict()["state"],
            step=self.step,
            epoch=self.epoch,
            sums=self.sums,
            waiting=self.waiting,
            best=self.best,
            reason=self.reason,
        )

    def _apply(self, state: State) -> None:
        self.model.load_state_dict(state.model)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        self.step, self.epoch, self.sums = state.step, state.epoch, state.sums
        self.waiting, self.best, self.reason = state.waiting, state.best, state.reason
