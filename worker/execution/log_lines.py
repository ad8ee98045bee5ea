"""What goes into a job's log: a readable line for each event of its training that is worth one, and the warnings that its
process logs."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

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


class _ForwardWarnings(logging.Handler):
    """Hands warnings and worse to a job's log."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.levelname.lower(), _message(record))


@contextmanager
def forwarded_warnings(say: Callable[[str, str], None]) -> Iterator[None]:
    """While open, every warning or error that this process logs is also given to `say(level, text)`."""
    handler = _ForwardWarnings(say)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _message(record: logging.LogRecord) -> str:
    """The sentence of a structured record, or the message of any other."""
    if isinstance(record.msg, dict):
        return str(record.msg.get("event", ""))
    return record.getMessage().strip()
