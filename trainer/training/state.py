"""How far a training has come: what changes from step to step, and what a checkpoint holds of it."""

import math
from collections.abc import Mapping

from trainer.evaluation import Outcome
from trainer.events import Reason
from trainer.optimization import EarlyStopping, has_diverged, is_better
from trainer.training.checkpoint import Best, BestWeights, SavedState, copied
from trainer.training.running_metrics import RunningMetrics
from trainer.training.setup import TrainingSetup


class TrainingState:
    """Finished steps and evaluation periods, the metrics of the period under way, what the stopping rules
    have seen, the best weights so far, and why training ended, once it has."""

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup = setup
        self.step, self.epoch = 0, 0
        self.running = RunningMetrics(setup.task, setup.term_names())
        self.stopping = EarlyStopping.start(setup.spec.early_stopping)
        self.best: Best | BestWeights | None = None
        self.reason: Reason | None = None

    def save(self) -> SavedState:
        """A copy of all of it, with weights, optimizer and average as they are."""
        setup = self._setup
        return SavedState(
            model=copied(setup.model.state_dict()),
            # Only the moments. The groups hold what the spec says (decay, momentum) and the
            # learning rate, which is set anew before every step.
            optimizer=copied(setup.update.optimizer.state_dict()["state"]),
            step=self.step,
            epoch=self.epoch,
            sums=self.running.values,
            watches=self.stopping.state(),
            average=copied(setup.average.state()) if setup.average is not None else None,
            best=self.best,
            reason=self.reason,
        )

    def keep_best(self, metrics: Mapping[str, float]) -> None:
        """The validated weights are the best so far."""
        monitored = {name: metrics[name] for name in self._setup.monitored}
        weights = copied(self._setup.validated.state_dict())
        self.best = BestWeights(self.epoch, self.step, monitored, weights)

    def restore(self, saved: SavedState) -> None:
        """The opposite of `save`; the learning rate and what else is in the spec stays as it is."""
        setup, optimizer = self._setup, self._setup.update.optimizer
        setup.model.load_state_dict(saved.model)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": saved.optimizer, "param_groups": groups})
        self.step, self.epoch, self.running.values = saved.step, saved.epoch, saved.sums
        self.stopping = EarlyStopping.restore(setup.spec.early_stopping, saved.watches)
        if setup.average is not None and saved.average is not None:
            setup.average.restore(saved.average)
        self.best, self.reason = saved.best, saved.reason

    def close_period(self, validation: Outcome) -> tuple[dict[str, float], bool]:
        """Syncs with the device; returns the period's metrics and whether it is the best."""
        metrics = self._measure(validation)
        self.epoch += 1
        self.running.reset()
        diverged, monitor = has_diverged(metrics), self._setup.spec.early_stopping.monitor
        best = self.best.metrics[monitor] if self.best else None
        is_best = not diverged and is_better(monitor, metrics[monitor], best)
        self.stopping = self.stopping.observe(metrics)
        # The order decides what a period is called for which several hold: one that is not finite
        # has diverged, even at the last step, and who reaches the last step has completed, even if
        # a rule says stop there.
        if diverged:
            self.reason = "diverged"
        elif self.step == self._setup.plan.total_steps:
            self.reason = "completed"
        elif self.stopping.stops:
            self.reason = "early_stopped"
        return metrics, is_best

    def _measure(self, validation: Outcome) -> dict[str, float]:
        """Takes `step` back to the first one that was not finite, if there was one."""
        sums: list[float] = self.running.values.tolist()
        val_loss, val_hits, val_examples = validation.sums.tolist()
        # After a non-finite step the weights depend on when that was noticed.
        self.step = self._setup.plan.period_end(self.epoch) + RunningMetrics.steps(sums)
        has_accuracy, factor = self._setup.task.has_accuracy, RunningMetrics.nan_unless_finite(sums)
        metrics = self.running.metrics(sums, accuracy=has_accuracy)
        metrics["val_loss"] = factor * val_loss / val_examples
        if has_accuracy:
            metrics["val_accuracy"] = factor * val_hits / val_examples
        return {**metrics, "learning_rate": self._setup.learning_rate(self.step - 1)}

    def summarize(self) -> dict[str, float]:
        """What `Finished` says besides the evaluations; NaN where no period was finite. `best_*` are
        the values of the best epoch by the monitored metric, not each metric's own best.
        `stop_epoch_*`: where each stopping rule would have ended this curve."""
        names = self._setup.monitored
        values: Mapping[str, float]
        values = self.best.metrics if self.best else dict.fromkeys(names, math.nan)
        return {
            "epochs": self.epoch,
            "steps": self.step,
            "best_epoch": self.best.epoch if self.best else math.nan,
            **{f"best_{name}": values[name] for name in names},
            **{f"stop_epoch_{rule}": float(epoch) for rule, epoch in self.stopping.stopped.items()},
        }
