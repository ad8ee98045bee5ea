"""Checks and warnings of a spec about statistics over batches: how many values they are of."""

from collections.abc import Iterator

from trainer.checks.context import Case
from trainer.spec import BatchNorm, BatchRenorm, GhostBatchNorm, Problem, StepTraining, name_norm
from trainer.surgery import shorten, uses_batch_statistics


def one_value_per_channel(case: Case) -> Iterator[Problem]:
    """There is nothing to average over: torch raises in the middle of the first epoch."""
    if not uses_batch_statistics(case.spec.norm):
        return
    sizes, training = _sizes_seen(case), case.spec.training
    given, batch = f"batch_size is {training.batch_size}", "batch"
    if training.accumulate > 1:
        given, batch = f"{given} and accumulate {training.accumulate}", "micro-batch"
    for site in case.sites:
        if any(size * site.values == 1 for size in sizes):
            last = sizes[0] * site.values > 1
            which = f"the last {batch} of {case.sizes.train} examples" if last else f"a {batch}"
            yield Problem(
                pointer="/training/batch_size",
                layer=site.name,
                detail=f"{given}, so {which} gives {name_norm(case.spec.norm)} one value per channel "
                f"in {site.name}",
                remedy="drop_last: true, or another batch_size"
                if last
                else "a larger batch_size, or layer or group norm",
            )


def _sizes_seen(case: Case) -> tuple[int, ...]:
    """How many samples are normalized at once, the usual number first: those of a batch, or of a
    micro-batch of an accumulated step."""
    training = case.spec.training
    micro = training.batch_size // training.accumulate
    each = (size for batch in case.batches for size in (min(batch, micro), batch % micro))
    return tuple(size for size in each if size > 0)


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
        virtual = norm.virtual_batch_size if isinstance(norm, GhostBatchNorm) else batch
        rest = batch % virtual if batch > virtual else 0
        for size, whose in ((min(batch, virtual), ""), (rest, "'s last virtual batch")):
            if named := [site.name for site in case.sites if size * site.values == 2]:
                yield (
                    f"{name_norm(norm)}{whose} sees two values per channel in {shorten(named)}: "
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


def uneven_virtual_batches(case: Case) -> Iterator[str]:
    norm = case.spec.norm
    if not isinstance(norm, GhostBatchNorm) or not case.batches:
        return
    usual, virtual = case.batches[0], norm.virtual_batch_size
    if virtual < usual and (rest := usual % virtual):
        yield (
            f"virtual_batch_size {virtual} does not divide the batches of {usual}: the last virtual "
            f"batch of each has {rest}, whose statistics are noisier and weigh as much"
        )


def momentum_of_elsewhere(case: Case) -> Iterator[str]:
    momentum = getattr(case.spec.norm, "momentum", None)
    if momentum is not None and momentum > 0.5:
        yield (
            f"a momentum of {momentum:g} is the weight of the new batch: the running statistics are "
            "nearly those of the last one; 0.9 elsewhere (Keras) is 0.1 here"
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
    uneven_virtual_batches,
    momentum_of_elsewhere,
    unfinished_ramp,
)
