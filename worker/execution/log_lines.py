"""What a training's events say in a job's log: one readable line each, or none. Pure."""

from collections.abc import Mapping

from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    EvaluationFinished,
    Event,
    Finished,
    Started,
)

#: Shown in this order in an epoch's line, where present.
SHOWN = ("val_accuracy", "val_loss", "train_loss", "train_accuracy")


def format_event(event: Event, periods: int) -> str | None:
    """`epoch 3/15 · val_accuracy 0.93 · …`; None for what happens too often to be logged."""
    match event:
        case Started():
            where = "from the start" if event.first_step == 0 else f"from step {event.first_step}"
            return f"training {where} of {event.total_steps} steps · {event.parameters} parameters"
        case EpochFinished():
            shown = {name: event.metrics[name] for name in SHOWN if name in event.metrics}
            best = " · best so far" if event.best else ""
            return (
                f"epoch {event.epoch}/{periods} · {_metrics(shown)}{best} · {event.seconds:.1f} s"
            )
        case CheckpointSaved(kind="last") if event.epoch == 0:
            return f"checkpoint at step {event.step}"
        case EvaluationFinished():
            return f"evaluation {event.name} · {_metrics(event.metrics)}"
        case Finished():
            return f"{event.reason.replace('_', ' ')} · {_metrics(event.metrics)}"
        case _:
            return None


def _metrics(metrics: Mapping[str, float]) -> str:
    return " · ".join(f"{name} {value:.4g}" for name, value in metrics.items())
