"""What claims and figures ask of jobs that could never give it: refused before anything is trained. Knows no
results."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studies.claims import CurveOf, Gain, Look, MetricOf, Spread, parts
from studies.panels import (
    ArraysPanel,
    FansPanel,
    LayersPanel,
    LooksPanel,
    OverPanel,
    panel_arms,
    panel_statistics,
)
from studies.spec import StudyError, StudySpec
from trainer.documents import pointer
from trainer.spec import JobSpec
from trainer.spec.optimization import StepTraining
from trainer.spec.report import Problem

#: Metrics that every job has, whatever its evaluations.
_ALWAYS = ("best_", "stop_epoch_")
_COUNTS = ("epochs", "steps")


def refuse_impossible(study: StudySpec, specs: Mapping[str, JobSpec]) -> None:
    """`specs`: what each arm trains, by its name. Raises `StudyError` with all that is found."""
    found = [
        problem
        for place, arms, statistics in _asked(study)
        for problem in (
            *_unknown_arms(place, arms, specs),
            *_unmeasured(place, statistics, study, list(specs.values())),
        )
    ]
    for index, panel in enumerate(study.figure):
        found += _empty_panel(pointer("figure", index), panel, study, list(specs.values()))
    if found:
        raise StudyError(tuple(dict.fromkeys(found)))


def _asked(study: StudySpec) -> Iterator[tuple[str, Sequence[str], Sequence[Any]]]:
    """Where it stands, which arms it names, which statistics it needs."""
    for index, claim in enumerate(study.claims):
        yield pointer("claims", index), claim.arms, list(parts(claim.statistic))
    for index, panel in enumerate(study.figure):
        statistics = [part for one in panel_statistics(panel) for part in parts(one)]
        yield pointer("figure", index), panel_arms(panel), statistics


def _unknown_arms(
    place: str, names: Sequence[str], specs: Mapping[str, JobSpec]
) -> Iterator[Problem]:
    for name in names:
        if name not in specs:
            remedy = f"one of {', '.join(sorted(specs))}"
            yield Problem(pointer=place, detail=f"there is no arm {name!r}", remedy=remedy)


def _unmeasured(
    place: str, statistics: Sequence[Any], study: StudySpec, specs: Sequence[JobSpec]
) -> Iterator[Problem]:
    prefixes = sorted({one.prefix for spec in specs for one in spec.evaluations})
    for statistic in statistics:
        match statistic:
            case MetricOf(name=name) if not _is_given(name, prefixes):
                yield Problem(
                    pointer=place,
                    detail=f"no evaluation gives {name!r}",
                    remedy=f"a metric of {', '.join(prefixes)}, or best_val_accuracy",
                )
            case Gain(over=variant) if variant not in study.variants:
                remedy = f"one of {', '.join(study.variants)}"
                yield Problem(
                    pointer=place, detail=f"there is no variant {variant!r}", remedy=remedy
                )
            case CurveOf(step=int(step)):
                yield from _unevaluated(place, step, specs)
            case Look() | Spread():
                yield from _unseen(place, specs)


def _is_given(name: str, prefixes: Sequence[str]) -> bool:
    return (
        name in _COUNTS
        or name.startswith(_ALWAYS)
        or any(name.startswith(f"{prefix}_") for prefix in prefixes)
    )


def _unevaluated(place: str, step: int, specs: Sequence[JobSpec]) -> Iterator[Problem]:
    """Of trainings by steps; how many steps an epoch has is known to the worker."""
    firsts = [spec.training.eval_every for spec in specs if isinstance(spec.training, StepTraining)]
    if len(firsts) == len(specs) and min(firsts) > step:
        yield Problem(
            pointer=place,
            detail=f"asks for a curve at step {step}, but it is first evaluated at step {min(firsts)}",
            remedy=f"`eval_every` of at most {step}, or a later step",
        )


def _unseen(place: str, specs: Sequence[JobSpec]) -> Iterator[Problem]:
    if all(spec.diagnostics.kind == "off" for spec in specs):
        yield Problem(
            pointer=place,
            detail="asks what is seen inside the network, but nothing looks there",
            remedy="put `diagnostics: {kind: epoch}` into the base",
        )


def _empty_panel(
    place: str, panel: Any, study: StudySpec, specs: Sequence[JobSpec]
) -> Iterator[Problem]:
    match panel:
        case OverPanel(path=str(path)) if path not in study.matrix:
            yield Problem(pointer=f"{place}/path", detail=f"{path} isn't in the matrix")
        case LooksPanel() | LayersPanel() | FansPanel():
            yield from _unseen(place, specs)
        case ArraysPanel(panel=output, evaluation=wanted):
            kept = {
                one.prefix for spec in specs for one in spec.evaluations if output in one.outputs
            }
            if not kept or (wanted is not None and wanted not in kept):
                by = f"by {wanted!r}" if wanted and kept else "by any evaluation"
                yield Problem(
                    pointer=place,
                    detail=f"shows {output}, which isn't kept {by}",
                    remedy=f"put `outputs: [{output}]` into that evaluation",
                )
