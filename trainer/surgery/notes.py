"""What a reader must know of an operation on a model's norms, in sentences. Changes nothing."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from trainer.spec import LayerNorm, LocalResponseNorm, NoNorm, NormSpec, name_norm
from trainer.surgery.build_norm import takes_activation, uses_batch_statistics
from trainer.surgery.survey import NormSite, Survey


def describe_surgery(
    norm: NormSpec, survey: Survey, sites: Sequence[NormSite], modules: Mapping[str, nn.Module]
) -> Iterator[str]:
    if survey.unused:
        yield f"never called, so left alone: {shorten(survey.unused)}"
    if any(site.follows for site in sites):
        yield f"the model has no norms: put behind its convolutions {shorten(_names(sites))}"
    if isinstance(norm, NoNorm) and (orphans := [s.name for s in sites if s.producer is None]):
        yield f"no single layer feeds these, so no bias took their place: {shorten(orphans)}"
    has_no_gain = isinstance(norm, NoNorm | LocalResponseNorm)
    if has_no_gain and (zeros := [s.name for s in sites if _starts_at_zero(modules[s.name])]):
        yield f"these began at zero gain, their branches now do not: {shorten(zeros)}"
    if tokens := [site.name for site in sites if site.tokens]:
        if isinstance(norm, LayerNorm):
            yield f"each token is normalized alone in {shorten(tokens)}"
        elif uses_batch_statistics(norm):
            yield "on sequences, statistics are over samples and tokens"
    if takes_activation(norm):
        kept = [s.name for s in sites if s.activation is None and not s.is_fused]
        if kept:
            yield (
                f"{name_norm(norm)} activates as well, but no activation layer of its own follows "
                f"{shorten(kept)}: what the model does there stays"
            )
    yield from _describe_options(norm, sites, modules)


def _names(sites: Sequence[NormSite]) -> list[str]:
    return [site.name for site in sites]


def shorten(names: Sequence[str]) -> str:
    """The first three, and how many more: big models have dozens."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _describe_options(
    norm: NormSpec, sites: Sequence[NormSite], modules: Mapping[str, nn.Module]
) -> Iterator[str]:
    eps, momentum = getattr(norm, "eps", None), getattr(norm, "momentum", None)
    own = {(s.kind, getattr(modules[s.name], "eps", None)) for s in sites}
    for kind, other in sorted(own, key=str):
        if isinstance(other, float) and eps is not None and other != eps:
            yield f"the model's own {kind} has eps {other:g}, the spec's norm has {eps:g}"
    momenta = {getattr(modules[s.name], "momentum", None) for s in sites}
    for other in sorted(m for m in momenta if isinstance(m, float)):
        if momentum is not None and other != momentum:
            yield f"the model's own momentum is {other:g}, the spec's norm has {momentum:g}"


def _starts_at_zero(norm: nn.Module) -> bool:
    gain = getattr(norm, "weight", None)
    return isinstance(gain, Tensor) and not gain.is_meta and not bool(gain.count_nonzero())
