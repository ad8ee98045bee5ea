"""The names of everything that a job of a spec records, known before it is trained."""

from trainer.spec.job import Evaluation, JobSpec, Output
from trainer.spec.task import Classification

#: An output of an evaluation → the scalars that come with its arrays, behind the evaluation's prefix.
OUTPUT_SCALARS: dict[Output, tuple[str, ...]] = {
    "filters": ("filter_kurtosis",),
    "weights": ("weight_norm", "near_zero", "exact_zero"),
    "activations": ("mean_activation", "active_fraction", "hoyer", "variance_ratio"),
}
#: The stopping rules that watch every curve.
STOPPING_RULES = (
    "patience", "generalization_loss", "progress_quotient", "successive_increases",
)  # fmt: skip
#: Recorded only of jobs whose curve a rule would have stopped.
STOP_EPOCHS = tuple(f"stop_epoch_{rule}" for rule in STOPPING_RULES)

_SIDE = ("mean", "std", "p1", "p15", "p50", "p85", "p99", "drift")
#: What `diagnostics` measure at a norm, and in a convolution or linear layer.
LAYER_STATISTICS = (
    *(f"{side}_{name}" for side in ("before", "after") for name in _SIDE),
    "dead", "sparsity", "statistics_gap", "variance_ratio",
    "weight_norm", "weight_sparsity", "gradient_norm", "effective_learning_rate",
)  # fmt: skip
#: The row of the whole network among those of its layers.
NETWORK = "network"
#: Which percentiles of activations are recorded.
PERCENTILES = (1, 15, 50, 85, 99)
#: What they measure of the whole network.
NETWORK_STATISTICS = ("train_loss", "eval_loss", "loss_gap", "weight_norm", "gradient_norm")


def has_accuracy(spec: JobSpec) -> bool:
    return isinstance(spec.task, Classification)


def recorded_metrics(spec: JobSpec) -> tuple[str, ...]:
    """All that a finished job may have; of the `stop_epoch_*` it has those whose rule would have stopped."""
    return (*always_recorded(spec), *STOP_EPOCHS)


def always_recorded(spec: JobSpec) -> tuple[str, ...]:
    """Of every finished job, however its training went; those of its evaluations first. Of an output's
    scalars only those that the model has (no norm with running statistics: no variance_ratio)."""
    monitored = {spec.early_stopping.monitor, "val_loss"}
    if has_accuracy(spec):
        monitored.add("val_accuracy")
    return (
        *(name for one in spec.evaluations for name in _of_evaluation(one, spec)),
        *(f"best_{name}" for name in sorted(monitored)),
        "best_epoch",
        "epochs",
        "steps",
    )


def _of_evaluation(evaluation: Evaluation, spec: JobSpec) -> list[str]:
    names = ["accuracy", "loss"] if has_accuracy(spec) else ["loss"]
    for output in dict.fromkeys(evaluation.outputs):
        names += OUTPUT_SCALARS.get(output, ())
    names += [metric.entry for metric in evaluation.metrics]
    shifted = evaluation.shift or (evaluation.split == "test" and spec.dataset.shift)
    if shifted and "activations" in evaluation.outputs:
        names.append("activation_shift")
    return [f"{evaluation.prefix}_{name}" for name in names]
