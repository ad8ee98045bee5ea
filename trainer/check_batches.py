"""Checks and warnings of a spec about statistics over batches: how many values they are of."""

from collections.abc import Iterator

from trainer.case import Case
from trainer.norms import uses_batch_statistics
from trainer.spec import BatchNorm, BatchRenorm, GhostBatchNorm, StepTraining
from trainer.spec.layouts import name_norm
from trainer.spec.report import Problem
from trainer.surgery_notes import shorten


def one_value_per_channel(case: Case) -> Iterator[Problem]:
    """There is nothing to average over: torch raises in the middle of the first epoch."""
    if not uses_batch_statistics(case.spec.norm):
        return
    for site in case.sites:
        if any(batch * site.values == 1 for batch in case.batches):
            last = case.batches[0] * site.values > 1
            which = f"the last batch of {case.sizes.train} examples" if last else "a batch"
            yield Problem(
                pointer="/training/batch_size",
                layer=site.name,
                detail=f"batch_size is {case.spec.training.batch_size}, so {which} gives "
                f"{name_norm(case.spec.norm)} one value per channel in {site.name}",
                remedy="drop_last: true, or another batch_size"
                if last
                else "a larger batch_size, or layer or group norm",
            )


def accumulated_batch_statistics(case: Case) -> Iterator[Problem]:
    """Micro-batches are normalized each by itself: that is ghost batch norm, and must be said."""
    norm, training = case.spec.norm, case.spec.training
    if training.accumulate == 1 or not uses_batch_statistics(norm):
        return
    micro = training.batch_size // training.accumulate
    if not isinstance(norm, GhostBatchNorm):
        yield Problem(
            pointer="/training/accumulate",
            detail=f"accumulate is {training.accumulate}, so {name_norm(norm)} would see micro-batches "
            f"of {micro} and not the batch of {training.batch_size}",
            remedy=f"norm: {{kind: ghost_batch, virtual_batch_size: {micro}}}, which says so; "
            "accumulate: 1; or a norm of single samples",
        )
    elif micro % norm.virtual_batch_size:
        yield Problem(
            pointer="/norm/virtual_batch_size",
            detail=f"virtual_batch_size must divide the micro-batches of {micro} but is "
            f"{norm.virtual_batch_size}",
            remedy=f"virtual_batch_size: {micro}, or another accumulate",
        )


def two_values_per_channel(case: Case) -> Iterator[str]:
    norm = case.spec.norm
    if not isinstance(norm, BatchNorm | GhostBatchNorm):
        return
    for batch in case.batches[:1]:
        size = min(batch, norm.virtual_batch_size) if isinstance(norm, GhostBatchNorm) else batch
        if named := [site.name for site in case.sites if size * site.values == 2]:
            yield (
                f"{name_norm(norm)} sees two values per channel in {shorten(named)}: "
                "in training its output is ±1, all magnitudes are lost"
            )


def dropout_before_batch_norm(case: Case) -> Iterator[str]:
    """The variance shift of Li et al. 2019 (arXiv 1801.05134): wider statistics in training."""
    if not uses_batch_statistics(case.spec.norm):
        return
    if shifted := [site for site in case.sites if site.dropout is not None]:
        named = shorten([f"{site.name} (after {site.dropout})" for site in shifted])
        yield (
            f"dropout before {name_norm(case.spec.norm)} shifts the variance between training and "
            f"evaluation (Li et al. 2019) in {named}; dropout at the head comes after every norm"
        )


def whole_virtual_batches(case: Case) -> Iterator[str]:
    norm, size = case.spec.norm, case.spec.training.batch_size
    if isinstance(norm, GhostBatchNorm) and norm.virtual_batch_size >= size:
        yield (
            f"virtual_batch_size {norm.virtual_batch_size} is not below batch_size {size}: "
            "ghost batch norm is batch norm then"
        )


def unfinished_ramp(case: Case) -> Iterator[str]:
    norm = case.spec.norm
    if not isinstance(norm, BatchRenorm):
        return
    needed = norm.plain_steps + norm.ramp_steps
    if needed > (steps := total_steps(case)):
        yield (
            f"batch_renorm comes to its limits after {needed} steps but the training has {steps}: "
            "scale plain_steps and ramp_steps to it"
        )


def total_steps(case: Case) -> int:
    training = case.spec.training
    if isinstance(training, StepTraining):
        return training.steps
    whole, last = divmod(case.sizes.train, training.batch_size)
    return training.epochs * (whole + (1 if last and not training.drop_last else 0))


BATCH_CHECKS = (one_value_per_channel, accumulated_batch_statistics)
BATCH_WARNINGS = (
    two_values_per_channel,
    dropout_before_batch_norm,
    whole_virtual_batches,
    unfinished_ramp,
)
