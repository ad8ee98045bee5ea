"""Checks and warnings of a spec about statistics over batches: how many values they are of."""

from collections.abc import Iterator

from trainer.checks.context import CheckContext
from trainer.spec import BatchNorm, BatchRenorm, GhostBatchNorm, Problem, StepTraining, name_norm
from trainer.surgery import shorten, uses_batch_statistics


def check_values_per_channel(context: CheckContext) -> Iterator[Problem]:
    """With one value per channel torch raises, in the middle of the first epoch."""
    if not uses_batch_statistics(context.spec.norm):
        return
    sizes, training = _list_normalized_sizes(context), context.spec.training
    given, batch = f"batch_size is {training.batch_size}", "batch"
    if training.accumulate > 1:
        given, batch = f"{given} and accumulate {training.accumulate}", "micro-batch"
    for site in context.sites:
        if any(size * site.values == 1 for size in sizes):
            last = sizes[0] * site.values > 1
            which = f"the last {batch} of {context.sizes.train} examples" if last else f"a {batch}"
            yield Problem(
                pointer="/training/batch_size",
                layer=site.name,
                detail=f"{given}, so {which} gives {name_norm(context.spec.norm)} one value per channel "
                f"in {site.name}",
                remedy="drop_last: true, or another batch_size"
                if last
                else "a larger batch_size, or layer or group norm",
            )


def _list_normalized_sizes(context: CheckContext) -> tuple[int, ...]:
    """How many samples are normalized at once, the usual number first: those of a batch, or of a
    micro-batch of an accumulated step; on several devices those of the smallest part."""
    ranks = context.normalizing_ranks
    return tuple(size // ranks for size in _list_micro_batches(context) if size >= ranks)


def _list_micro_batches(context: CheckContext) -> tuple[int, ...]:
    """Their sizes, the usual one first."""
    training = context.spec.training
    micro = training.batch_size // training.accumulate
    each = (size for batch in context.batches for size in (min(batch, micro), batch % micro))
    return tuple(size for size in each if size > 0)


def check_part_for_each_device(context: CheckContext) -> Iterator[Problem]:
    """A device without an example would have no loss, and nothing to normalize."""
    devices, sizes = context.spec.resources.devices, _list_micro_batches(context)
    for size in sizes:
        if size < devices:
            what = "micro-batch" if context.spec.training.accumulate > 1 else "batch"
            last = sizes[0] >= devices
            which = f"the last {what} of {context.sizes.train} examples" if last else f"a {what}"
            yield Problem(
                pointer="/resources/devices",
                detail=f"devices is {devices}, but {which} has only {size} to share out",
                remedy="drop_last: true, another batch_size, or fewer devices"
                if last
                else "a larger batch_size, or fewer devices",
            )
            return


def check_compiled_statistics(context: CheckContext) -> Iterator[Problem]:
    """Compiled as one graph, which can't wait for other devices in its middle."""
    spec = context.spec
    if spec.training.compile and isinstance(spec.norm, BatchNorm) and spec.norm.sync:
        yield Problem(
            pointer="/norm/sync",
            detail="a compiled model is one graph, in which no layer can exchange statistics with other devices",
            remedy="compile: false, or sync: false",
        )


def check_accumulated_batch_statistics(context: CheckContext) -> Iterator[Problem]:
    """Micro-batches are normalized each by itself: that is ghost batch norm, and the spec must name it."""
    norm, training = context.spec.norm, context.spec.training
    if training.accumulate == 1 or not uses_batch_statistics(norm):
        return
    micro = training.batch_size // training.accumulate
    if not isinstance(norm, GhostBatchNorm):
        yield Problem(
            pointer="/training/accumulate",
            detail=f"accumulate is {training.accumulate}, so {name_norm(norm)} would see micro-batches "
            f"of {micro} and not the batch of {training.batch_size}",
            remedy=f"norm: {{kind: ghost_batch, virtual_batch_size: {micro}}}, which states this; "
            "accumulate: 1; or a norm of single samples",
        )
    elif micro % norm.virtual_batch_size:
        yield Problem(
            pointer="/norm/virtual_batch_size",
            detail=f"virtual_batch_size must divide the micro-batches of {micro} but is "
            f"{norm.virtual_batch_size}",
            remedy=f"virtual_batch_size: {micro}, or another accumulate",
        )


def warn_two_values_per_channel(context: CheckContext) -> Iterator[str]:
    norm = context.spec.norm
    if not isinstance(norm, BatchNorm | GhostBatchNorm) or not uses_batch_statistics(norm):
        return
    for whole in context.batches[:1]:
        batch = whole // context.normalizing_ranks
        virtual = norm.virtual_batch_size if isinstance(norm, GhostBatchNorm) else batch
        rest = batch % virtual if batch > virtual else 0
        for size, whose in ((min(batch, virtual), ""), (rest, "'s last virtual batch")):
            if named := [site.name for site in context.sites if size * site.values == 2]:
                yield (
                    f"{name_norm(norm)}{whose} sees two values per channel in {shorten(named)}: "
                    "in training its output is ±1, all magnitudes are lost"
                )


def warn_dropout_before_batch_norm(context: CheckContext) -> Iterator[str]:
    """The variance shift of Li et al. 2019 (arXiv 1801.05134): wider statistics in training."""
    if not uses_batch_statistics(context.spec.norm):
        return
    if shifted := [site for site in context.sites if site.dropout is not None]:
        named = shorten([f"{site.name} (after {site.dropout})" for site in shifted])
        yield (
            f"dropout before {name_norm(context.spec.norm)} shifts the variance between training and "
            f"evaluation (Li et al. 2019) in {named}; dropout at the head comes after every norm"
        )


def warn_virtual_batch_not_smaller(context: CheckContext) -> Iterator[str]:
    norm, ranks = context.spec.norm, context.normalizing_ranks
    size = context.spec.training.batch_size // ranks
    if isinstance(norm, GhostBatchNorm) and norm.virtual_batch_size >= size:
        each = "" if ranks == 1 else " of each device"
        yield (
            f"virtual_batch_size {norm.virtual_batch_size} is not below batch_size {size}{each}: "
            "ghost batch norm is then the same as batch norm"
        )


def warn_uneven_virtual_batches(context: CheckContext) -> Iterator[str]:
    norm = context.spec.norm
    if not isinstance(norm, GhostBatchNorm) or not context.batches:
        return
    usual, virtual = context.batches[0] // context.normalizing_ranks, norm.virtual_batch_size
    if virtual < usual and (rest := usual % virtual):
        yield (
            f"virtual_batch_size {virtual} does not divide the batches of {usual}: the last virtual "
            f"batch of each has {rest}, whose statistics are noisier and weigh as much"
        )


def warn_batch_statistics_of_each_device(context: CheckContext) -> Iterator[str]:
    norm, devices = context.spec.norm, context.spec.resources.devices
    if context.normalizing_ranks > 1 and uses_batch_statistics(norm):
        size = context.spec.training.batch_size // devices
        remedy = "; sync: true takes those of the whole batch" * isinstance(norm, BatchNorm)
        yield (
            f"{name_norm(norm)} takes its statistics over each device's {size} examples, not over "
            f"the batch of {context.spec.training.batch_size}{remedy}"
        )


def warn_sync_on_one_device(context: CheckContext) -> Iterator[str]:
    norm = context.spec.norm
    if isinstance(norm, BatchNorm) and norm.sync and context.spec.resources.devices == 1:
        yield "sync changes nothing on one device, which sees the whole batch: see resources.devices"


def warn_keras_momentum(context: CheckContext) -> Iterator[str]:
    momentum = getattr(context.spec.norm, "momentum", None)
    if momentum is not None and momentum > 0.5:
        yield (
            f"a momentum of {momentum:g} is the weight of the new batch: the running statistics are "
            "nearly those of the last one; 0.9 elsewhere (Keras) is 0.1 here"
        )


def warn_unfinished_renorm_ramp(context: CheckContext) -> Iterator[str]:
    norm = context.spec.norm
    if not isinstance(norm, BatchRenorm):
        return
    needed = norm.plain_steps + norm.ramp_steps
    if needed > (steps := count_total_steps(context)):
        yield (
            f"batch_renorm reaches its limits after {needed} steps but the training has {steps}: "
            "scale plain_steps and ramp_steps to it"
        )


def count_total_steps(context: CheckContext) -> int:
    training = context.spec.training
    if isinstance(training, StepTraining):
        return training.steps
    whole, last = divmod(context.sizes.train, training.batch_size)
    return training.epochs * (whole + (1 if last and not training.drop_last else 0))


BATCH_CHECKS = (
    check_part_for_each_device,
    check_values_per_channel,
    check_compiled_statistics,
    check_accumulated_batch_statistics,
)
BATCH_WARNINGS = (
    warn_two_values_per_channel,
    warn_dropout_before_batch_norm,
    warn_virtual_batch_not_smaller,
    warn_uneven_virtual_batches,
    warn_batch_statistics_of_each_device,
    warn_sync_on_one_device,
    warn_keras_momentum,
    warn_unfinished_renorm_ramp,
)
