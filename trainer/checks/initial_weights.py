"""Whether the weights of another job, which a spec begins from, fit its model."""

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.models import build_model, find_misfits
from trainer.spec import DatasetInfo, JobSpec, Problem
from trainer.surgery import on_meta


@dataclass(frozen=True, slots=True)
class Source:
    """What the other job trained, and on what."""

    spec: JobSpec
    info: DatasetInfo


def check_initial_weights(
    spec: JobSpec, info: DatasetInfo, source: Source | None
) -> Iterator[Problem]:
    """The first that does not fit, for the others follow from it. The other job's weights are those of its model, which
    is built on the meta device: no file is read."""
    if spec.init_from is None or source is None:
        return
    with on_meta():
        weights = build_model(source.spec, source.info).state_dict()
        misfits = list(find_misfits(build_model(spec, info), weights, spec.init_from))
    # A layer that is another one is told before its head, which reset_head would cure.
    misfits.sort(key=lambda one: one.pointer != "/init_from/job")
    yield from misfits[:1]
