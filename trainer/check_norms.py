"""Checks and warnings of a spec about every norm layer of its model."""

from collections.abc import Iterator
from math import gcd

from trainer.case import Case
from trainer.norms import group_field
from trainer.sites import NormSite
from trainer.spec import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm
from trainer.spec.report import Problem
from trainer.surgery import explain_misfit, shorten


def norms_out_of_reach(case: Case) -> Iterator[Problem]:
    for obstacle in case.survey.obstacles if case.survey else ():
        yield Problem(
            pointer="/model/name",
            layer=obstacle.layer or None,
            detail=f"{obstacle.detail}, which cannot be replaced",
            remedy="another model",
        )


def no_norm_layers(case: Case) -> Iterator[Problem]:
    survey, norm = case.survey, case.spec.norm
    if survey is None or survey.sites or survey.obstacles or isinstance(norm, NoNorm):
        return
    yield Problem(
        pointer="/norm/kind",
        detail=f"the model has no norm layers, so {norm.kind} norm would change nothing",
        remedy="norm: {kind: none}, or a model with norm layers",
    )


def undefined_norm(case: Case) -> Iterator[Problem]:
    """Sequences and windows, on which not every norm means something."""
    for site in case.sites:
        if (error := explain_misfit(case.spec.norm, site)) is not None:
            yield Problem(
                pointer=error.pointer, layer=site.name, detail=str(error), remedy=error.remedy
            )


def groups_not_dividing(case: Case) -> Iterator[Problem]:
    norm = case.spec.norm
    if not isinstance(norm, GroupNorm):
        return
    given, field = norm.groups or norm.channels_per_group or 1, group_field(norm)
    common = gcd(*(site.channels for site in case.sites))
    fitting = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
    for site in case.sites:
        if site.channels % given:
            yield Problem(
                pointer=f"/norm/{field}",
                layer=site.name,
                detail=f"{field} is {given} but must divide the {site.channels} channels of {site.name}",
                remedy=f"one of {fitting}, which divide the channels of every norm layer",
            )


def one_value_per_channel(case: Case) -> Iterator[Problem]:
    """Batch norm has nothing to average over: torch raises in the middle of the first epoch."""
    if not isinstance(case.spec.norm, BatchNorm):
        return
    for site in case.sites:
        if any(batch * site.values == 1 for batch in case.batches):
            last = case.batches[0] * site.values > 1
            which = f"the last batch of {case.sizes.train} examples" if last else "a batch"
            yield Problem(
                pointer="/training/batch_size",
                layer=site.name,
                detail=f"batch_size is {case.spec.training.batch_size}, so {which} gives batch norm "
                f"one value per channel in {site.name}",
                remedy="drop_last: true, or another batch_size"
                if last
                else "a larger batch_size, or layer or group norm",
            )


def one_position(case: Case) -> Iterator[Problem]:
    if not isinstance(case.spec.norm, InstanceNorm):
        return
    for site in case.sites:
        if site.positions == 1 and not site.tokens:
            yield Problem(
                pointer="/norm/kind",
                layer=site.name,
                detail=f"instance norm averages over positions but {site.name} has one per channel",
                remedy=f"layer or group norm{_or_larger(site)}",
            )


def one_element_per_group(case: Case) -> Iterator[Problem]:
    """No error in torch: the layer's output is silently its bias, whatever the input."""
    norm = case.spec.norm
    if not isinstance(norm, GroupNorm | LayerNorm):
        return
    for site in case.sites:
        if isinstance(norm, GroupNorm):
            if norm.groups:
                elements = site.channels * site.positions / norm.groups
            else:
                elements = (norm.channels_per_group or 1) * site.positions
        else:
            elements = site.channels * (1 if site.tokens else site.positions)
        if elements == 1:
            yield _zeros(norm, site)


def _zeros(norm: GroupNorm | LayerNorm, site: NormSite) -> Problem:
    pointer = f"/norm/{group_field(norm)}" if isinstance(norm, GroupNorm) else "/norm/kind"
    fewer = "fewer groups" if isinstance(norm, GroupNorm) else "a wider model"
    return Problem(
        pointer=pointer,
        layer=site.name,
        detail=f"{norm.kind} norm averages over one element in {site.name} "
        f"({site.channels} channels, 1 position): its output is always zero",
        remedy=f"{fewer}{_or_larger(site)}",
    )


def _or_larger(site: NormSite) -> str:
    return ", or larger images (dataset.image_size)" if len(site.shape) > 1 else ""


def two_values_per_channel(case: Case) -> Iterator[str]:
    if not isinstance(case.spec.norm, BatchNorm):
        return
    for batch in case.batches[:1]:
        if named := [site.name for site in case.sites if batch * site.values == 2]:
            yield (
                f"batch norm sees two values per channel in {shorten(named)}: "
                "in training its output is ±1, all magnitudes are lost"
            )


def dropout_before_batch_norm(case: Case) -> Iterator[str]:
    """The variance shift of Li et al. 2019 (arXiv 1801.05134): wider statistics in training."""
    if not isinstance(case.spec.norm, BatchNorm):
        return
    if shifted := [site for site in case.sites if site.dropout is not None]:
        named = shorten([f"{site.name} (after {site.dropout})" for site in shifted])
        yield (
            f"dropout before batch norm shifts the variance between training and evaluation "
            f"(Li et al. 2019) in {named}; dropout at the head comes after every norm"
        )


NORM_CHECKS = (
    norms_out_of_reach,
    no_norm_layers,
    undefined_norm,
    groups_not_dividing,
    one_value_per_channel,
    one_position,
    one_element_per_group,
)
NORM_WARNINGS = (two_values_per_channel, dropout_before_batch_norm)
