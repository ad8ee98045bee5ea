"""The training loop: a generator of events that can be told to save and stop, or be abandoned."""

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch

from trainer.data import Data
from trainer.evaluation import evaluate
from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    Finished,
    Progressed,
    Stepped,
    Wish,
)
from trainer.random_streams import seed_globals
from trainer.spec import JobSpec, Numerics
from trainer.training.environment import apply_numerics
from trainer.training.state import Run

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
        if run.probe is not None and run.probe.is_due(run.step):
            yield run.look()
        if run.is_save_due() and run.step < last_step:
            if not run.running.are_finite():
                break
            yield run.save()

    yield from run.average_weights()
    predict = run.make_predictor()
    validation = yield from evaluate(predict, run.val, run.task, "val")
    metrics, is_best = run.close_period(validation)
    yield EpochFinished(run.epoch, run.step, metrics, is_best, time.monotonic() - began)
    if is_best:
        yield run.save_best(metrics)
    yield run.save()


def _take_step(run: Run) -> None:
    """One optimizer step; the global generators are seeded for it, so that none has to be saved."""
    pixels, targets = run.take_batch()
    seed_globals("dropout", run.spec.seed, run.step)
    run.optimizer.zero_grad()
    scores, terms = [], run.start_terms()
    for some_pixels, some_targets in run.micro_batches(pixels, targets):
        predictions = run.task.predictions(run.forward(run.standardize(some_pixels)))
        cost = run.task.loss(predictions, some_targets)
        share = len(some_pixels) / len(pixels)
        if (smoothing := run.task.smoothing_term(predictions, some_targets)) is not None:
            cost = cost + smoothing
            terms["label_smoothing"] += share * smoothing.detach()
        (share * cost).backward()  # type: ignore[no-untyped-call]
        scores.append(run.task.score(predictions.detach(), some_targets))

    if run.penalties is not None:
        penalties = run.penalties()
        torch.stack(tuple(penalties.values())).sum().backward()  # type: ignore[no-untyped-call]
        terms |= penalties
    run.update_weights()
    run.running.add(torch.stack(scores).sum(0), terms)
