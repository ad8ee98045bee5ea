"""The training loop: a generator of events that can be asked to save and stop, or be abandoned."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.data import Data
from trainer.evaluation import Batch, Evaluator, Weights, evaluate
from trainer.events import (
    CheckpointSaved,
    Diagnosed,
    EpochFinished,
    Event,
    Finished,
    Progressed,
    Started,
    Stepped,
    StopRequest,
)
from trainer.layers import set_progress
from trainer.models import count_parameters, transfer
from trainer.random_streams import seed_globals
from trainer.spec import JobSpec, Numerics
from trainer.training.checkpoint import (
    Best,
    BestWeights,
    CheckpointFolder,
    Restored,
    load_best,
    load_weights,
    restore,
)
from trainer.training.environment import apply_numerics, describe_change
from trainer.training.ranks import Ranks
from trainer.training.setup import TrainingSetup, set_up
from trainer.training.state import TrainingState

_PLAIN = Numerics()


def train(
    spec: JobSpec,
    data: Data,
    folder: Path,
    *,
    numerics: Numerics = _PLAIN,
    device: torch.device | None = None,
    resume: Sequence[CheckpointSaved] = (),
    initial: CheckpointSaved | None = None,
    ranks: Ranks | None = None,
) -> Generator[Event, StopRequest | None, None]:
    """Trains the spec; `folder` is the attempt's own, and its parent is the job's.

    Goes on from the first usable of `resume`, newest first; else it begins with the weights of `initial`, which a spec
    with `init_from` needs. `StopRequest.SAVE_AND_STOP` is answered at the
    next `Stepped` or `Progressed`: `CheckpointSaved("last")`, and no `Finished`. Closing the generator
    abandons the training. Everything that goes wrong propagates, but for a loss that is no longer
    finite: that is a result, `diverged`.

    Of several processes (`ranks`) only rank 0 yields; a generator of another one takes steps until it is ended.
    """
    numerics = numerics.for_job(spec.model_dump(include={"training"}))
    # These settings are the whole process's, which may have trained another job before: they are made
    # before anything is computed.
    apply_numerics(numerics)
    setup = set_up(spec, data, folder, numerics, device or torch.device(numerics.device), ranks)
    state = TrainingState(setup)
    restored = _resume(setup, state, resume)
    if restored.state is None and spec.init_from is not None:
        assert initial is not None
        transfer(setup.model, load_weights(initial, setup.device), spec.init_from)
    if ranks is not None:
        ranks.check_equal(state.step, setup.model)
        if not ranks.leads:
            _follow(setup, state)
            return
    with closing(CheckpointFolder(folder, setup.environment)) as checkpoints:
        yield from _run(setup, state, checkpoints, restored)


def _follow(setup: TrainingSetup, state: TrainingState) -> None:
    """Takes steps beside rank 0, which alone knows whether there will be another one: at the end of a period this
    process waits for it, in the next step's sum."""
    setup.model.train()
    while state.step < setup.plan.total_steps:
        _take_step(setup, state)
        # Rank 0 adds up what the period's steps measured; here it would only pile up.
        state.running.reset()


def _run(
    setup: TrainingSetup,
    state: TrainingState,
    checkpoints: CheckpointFolder,
    restored: Restored,
) -> Generator[Event, StopRequest | None, None]:
    stop_requested = (yield _describe_start(setup, state, restored)) is StopRequest.SAVE_AND_STOP
    # A request that comes with any other event (a checkpoint, an epoch's end) is remembered until
    # the next step or batch: only there does the state lie between two whole steps.
    for event in _work(setup, state, checkpoints):
        if checkpoints.is_complete or isinstance(event, Finished):
            for saved in checkpoints.announce():
                stop_requested = (yield saved) is StopRequest.SAVE_AND_STOP or stop_requested
        stop_requested = (yield event) is StopRequest.SAVE_AND_STOP or stop_requested
        if stop_requested and isinstance(event, Stepped | Progressed):
            checkpoints.begin(state.save(), is_needed=True)
            yield from checkpoints.announce()
            return


def _resume(
    setup: TrainingSetup, state: TrainingState, checkpoints: Sequence[CheckpointSaved]
) -> Restored:
    """Goes on from the newest usable one; a changed environment is one of its warnings."""
    # Checkpoints of earlier attempts lie beside this attempt's folder, so they are looked up from the
    # job's.
    restored = restore(checkpoints, setup.folder.parent, setup.device)
    if restored.state is None:
        return restored
    state.restore(restored.state)
    change = describe_change(restored.environment, setup.environment)
    return restored if change is None else replace(restored, warnings=(*restored.warnings, change))


def _describe_start(setup: TrainingSetup, state: TrainingState, restored: Restored) -> Started:
    return Started(
        first_step=state.step,
        epoch=state.epoch,
        total_steps=setup.plan.total_steps,
        parameters=count_parameters(setup.model),
        warnings=restored.warnings,
        environment=setup.environment,
        facts=setup.describe_facts(),
        damaged=restored.damaged,
    )


def _work(
    setup: TrainingSetup, state: TrainingState, checkpoints: CheckpointFolder
) -> Iterator[Event]:
    while state.reason is None:
        yield from _train_period(setup, state, checkpoints)
    evaluator = _make_evaluator(setup, state)
    scalars: dict[str, float] = {}
    for evaluation in setup.spec.evaluations:
        scalars |= yield from evaluator.run(evaluation)
    yield Finished(state.reason, {**state.summarize(), **scalars})


def _train_period(
    setup: TrainingSetup, state: TrainingState, checkpoints: CheckpointFolder
) -> Iterator[Event]:
    began, last_step = time.monotonic(), setup.plan.period_end(state.epoch + 1)
    setup.model.train()
    while state.step < last_step:
        _take_step(setup, state)
        yield Stepped(state.step)
        if setup.probe is not None and setup.probe.is_due(state.step):
            yield _diagnose(setup, state)
        if checkpoints.is_due(setup.spec.training.checkpoint_seconds) and state.step < last_step:
            # A checkpoint waits for the device anyway, so looking at the sums costs nothing more.
            # Once they are not finite, the rest of the period can change no result, and a
            # checkpoint of such weights would be of no use.
            if not state.running.are_finite():
                break
            checkpoints.begin(state.save())

    # Before the validation, which is of the averaged weights where there are any.
    yield from _average_weights(setup, state)
    validation = yield from evaluate(setup.make_predictor(), setup.val, setup.task, "val")
    metrics, is_best = state.close_period(validation)
    yield EpochFinished(state.epoch, state.step, metrics, is_best, time.monotonic() - began)
    if is_best:
        state.keep_best(metrics)
    # At the end always: what is left is no training, and a later attempt shall not train again.
    has_ended = state.reason is not None
    if has_ended or checkpoints.is_due(setup.spec.training.checkpoint_seconds):
        checkpoints.begin(state.save(), is_needed=has_ended)


def _take_step(setup: TrainingSetup, state: TrainingState) -> None:
    """One optimizer step; the global generators are seeded for it, so that none has to be saved."""
    pixels, targets = setup.batches.take(state.step)
    if setup.is_ramped:
        set_progress(setup.model, state.step / setup.plan.total_steps)
    setup.update.optimizer.zero_grad()
    batches, terms, scores = _pass_batch(setup, state.step, pixels, targets)
    if setup.ascent is not None:
        # What is measured is the loss of the weights themselves, in the pass before.
        with setup.ascent.ascended():
            _pass_batch(setup, state.step, pixels, targets)
    if setup.penalties is not None:
        # Once for the step: weights are the same for all micro-batches, and in a backward pass of
        # its own the penalty's gradient is added to theirs.
        penalties = setup.penalties()
        torch.stack(tuple(penalties.values())).sum().backward()  # type: ignore[no-untyped-call]
        terms |= penalties
    setup.update.apply(state.step, setup.learning_rate(state.step))
    state.step += 1
    if setup.average is not None:
        setup.average.after_step(setup.model)
    if scores is None:
        state.running.add(batches, terms)
    else:
        state.running.add_scored(scores, terms)


def _pass_batch(
    setup: TrainingSetup, step: int, pixels: Tensor, targets: Tensor
) -> tuple[list[Batch], dict[str, Tensor], Tensor | None]:
    """Forward and backward: gradients of the whole batch; its scores where ranks added them up."""
    # Once for the pass, not for each micro-batch, whose masks must differ from one another. A second pass of the
    # step drops what the first one did.
    if setup.may_draw:
        stream = "dropout" if setup.ranks is None else setup.ranks.dropout_stream()
        seed_globals(stream, setup.spec.seed, step)
    batches, terms = _add_gradients(setup, pixels, targets)
    if setup.ranks is None:
        return batches, terms, None
    return batches, terms, _add_up(setup, setup.ranks, batches, terms, len(pixels))


def _add_gradients(
    setup: TrainingSetup, pixels: Tensor, targets: Tensor
) -> tuple[list[Batch], dict[str, Tensor]]:
    """Of the loss, by micro-batches; returns the predictions and targets of each, and what is added to
    the loss."""
    batches: list[Batch] = []
    terms: dict[str, Tensor] = {}
    for one in setup.batches.split(pixels, targets):
        some_pixels, some_targets = one if setup.ranks is None else map(setup.ranks.take_part, one)
        predictions = setup.task.predictions(setup.forward(setup.batches.to_inputs(some_pixels)))
        cost = setup.task.loss(predictions, some_targets)
        # Each micro-batch counts by its size, so that the sum of the gradients is that of the mean
        # over the whole batch: 64 examples in parts of 48 and 16 count 3/4 and 1/4.
        share = len(some_pixels) / len(pixels)
        if (smoothing := setup.task.smoothing_term(predictions, some_targets)) is not None:
            cost = cost + smoothing
            part = share * smoothing.detach()
            terms["label_smoothing"] = terms["label_smoothing"] + part if terms else part
        # A product with 1 changes no bit, and costs two operations.
        (cost if share == 1 else share * cost).backward()  # type: ignore[no-untyped-call]
        batches.append((predictions.detach(), some_targets))
    return batches, terms


def _add_up(
    setup: TrainingSetup,
    ranks: Ranks,
    batches: Sequence[Batch],
    terms: dict[str, Tensor],
    examples: int,
) -> Tensor:
    """Gradients, running statistics and terms of the whole batch on every rank; returns its scores."""
    mine = [setup.task.scores(batches).sum(0).float(), *(one.view(1) for one in terms.values())]
    share = sum(len(targets) for _, targets in batches) / examples
    sums = ranks.add_up(setup.model, share, torch.cat(mine))
    terms.update(zip(terms, sums[3:], strict=True))
    return sums[:3]


def _diagnose(setup: TrainingSetup, state: TrainingState) -> Diagnosed:
    assert setup.probe is not None
    return setup.probe.measure(state.step, state.epoch + 1, setup.learning_rate(state.step - 1))


def _average_weights(setup: TrainingSetup, state: TrainingState) -> Iterator[Progressed]:
    """At the end of a period: brings the averaged weights, if there are any, up to date."""
    if setup.average is None:
        return
    setup.average.after_period(setup.model, state.epoch + 1)
    if setup.average.is_active:
        for _ in setup.average.estimate_statistics(setup.standardized_batches()):
            yield Progressed("batch statistics")


def _make_evaluator(setup: TrainingSetup, state: TrainingState) -> Evaluator:
    match state.best:
        case Best() as best:
            best_weights: Mapping[str, Tensor] | None = load_best(
                best, setup.folder.parent, setup.device
            )
        case BestWeights(weights=best_weights):
            pass
        case None:
            best_weights = None
    weights = Weights(
        best=best_weights,
        # The weights of a diverged training depend on how soon the divergence was noticed, so they
        # are not evaluated.
        last=setup.validated.state_dict() if state.reason != "diverged" else None,
    )
    return Evaluator(
        setup.spec, setup.data, setup.folder, setup.model, weights, setup.standardize, setup.task
    )
