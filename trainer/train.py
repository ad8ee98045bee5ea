"""The training loop: a generator of events that can be told to save and stop, or be abandoned.

Knows no queue, no tracker and no database.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from trainer.data import Data
from trainer.environment import apply_numerics
from trainer.evaluate import evaluate, plain_predictor, score
from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    Finished,
    Progressed,
    Stepped,
    Wish,
)
from trainer.optim import set_learning_rate
from trainer.run import Run
from trainer.spec import JobSpec, Numerics
from trainer.streams import seed_globals

_PLAIN = Numerics()


def train(
    spec: JobSpec,
    data: Data,
    folder: Path,
    *,
    numerics: Numerics = _PLAIN,
    device: torch.device | None = None,
    resume: Sequence[CheckpointSaved] = (),
) -> Generator[Event, Wish | None, None]:
    """Trains the spec; `folder` is the attempt's own, and its parent is the job's.

    Goes on from the first usable of `resume`, newest first. `Wish.SAVE_AND_STOP` is answered at the
    next `Stepped` or `Progressed`: `CheckpointSaved("last")`, and no `Finished`. Closing the generator
    abandons the training. Everything that goes wrong propagates, but for a loss that is no longer
    finite: that is a result, `diverged`.
    """
    apply_numerics(numerics)
    run = Run(spec, data, folder, numerics, device or torch.device(numerics.device))
    warnings = run.resume(resume)
    wished = (yield run.started(warnings)) is Wish.SAVE_AND_STOP
    for event in _work(run):
        wished = (yield event) is Wish.SAVE_AND_STOP or wished
        if wished and isinstance(event, Stepped | Progressed):
            yield run.save()
            return


def _work(run: Run) -> Iterator[Event]:
    while run.reason is None:
        yield from _train_period(run)
    evaluator = run.make_evaluator()
    scalars: dict[str, float] = {}
    for evaluation in run.spec.evaluations:
        scalars |= yield from evaluator.run(evaluation)
    yield Finished(run.reason, {**run.summary(), **scalars})


def _train_period(run: Run) -> Iterator[Event]:
    began, last_step = time.monotonic(), run.plan.period_end(run.epoch + 1)
    run.model.train()
    while run.step < last_step:
        _take_step(run)
        yield Stepped(run.step)
        if run.is_save_due() and run.step < last_step:
            if not run.has_finite_sums():
                break
            yield run.save()

    run.model.eval()
    predict = plain_predictor(run.forward, run.standardize)
    validation = yield from evaluate(predict, run.val, "val")
    metrics, is_best = run.close_period(validation)
    yield EpochFinished(run.epoch, run.step, metrics, is_best, time.monotonic() - began)
    if is_best:
        yield run.save_best(metrics)
    yield run.save()


def _take_step(run: Run) -> None:
    """One optimizer step; the global generators are seeded for it, so that none has to be saved."""
    pixels, labels = run.train.take(run.order.indices(run.step))
    if run.augment is not None:
        seed_globals("augmentation", run.spec.seed, run.step)
        pixels = run.augment(pixels)

    seed_globals("dropout", run.spec.seed, run.step)
    log_probabilities = functional.log_softmax(run.forward(run.standardize(pixels)), 1)
    loss = functional.nll_loss(log_probabilities, labels)
    penalty = run.penalty() if run.penalty is not None else None
    cost = loss if penalty is None else loss + penalty

    run.optimizer.zero_grad()
    cost.backward()  # type: ignore[no-untyped-call]
    set_learning_rate(run.optimizer, run.learning_rate(run.step))
    run.optimizer.step()

    run.add(score(log_probabilities.detach(), labels), penalty)
    run.step += 1
