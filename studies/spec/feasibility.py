"""What a study asks of its jobs that they will never record: refused before anything is trained."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runtime.documents import pointer
from studies.spec.claims import CurveOf, DiagnosticOf, Gain, MetricOf, Spread, StepsToReach, parts
from studies.spec.panels import (
    ArraysPanel,
    CurvesPanel,
    FansPanel,
    LayersPanel,
    LooksPanel,
    OverPanel,
    panel_arms,
    panel_statistics,
)
from studies.spec.study import StudyError, StudySpec
from trainer.problems import did_you_mean, listed
from trainer.spec import (
    LAYER_STATISTICS,
    NETWORK,
    NETWORK_STATISTICS,
    STOP_EPOCHS,
    JobSpec,
    Problem,
    StepTraining,
    always_recorded,
    has_accuracy,
    recorded_metrics,
)

#: What decides after how many evaluation periods a training ends.
_LENGTHS = frozenset({"training", "training.epochs", "training.steps", "training.eval_every"})


def refuse_impossible(study: StudySpec, specs: Mapping[str, JobSpec]) -> None:
    """`specs`: what each arm trains, by its name. Raises `StudyError` with all that is found."""
    trained = list(specs.values())
    problems = [*_unrecorded_metric(study, specs), *_unreachable_threshold(study, trained)]
    problems += _idle_stop(study, specs)
    for place, arms, statistics in _asked(study):
        problems += _unknown_arms(place, arms, specs)
        problems += _unmeasured(place, statistics, study, trained)
    for index, panel in enumerate(study.figure):
        problems += _empty_panel(pointer("figure", index), panel, study, trained)
    if problems:
        raise StudyError(tuple(dict.fromkeys(problems)))


def _unrecorded_metric(study: StudySpec, specs: Mapping[str, JobSpec]) -> Iterator[Problem]:
    """The metric of record is needed of every job."""
    recorded = {name: always_recorded(spec) for name, spec in specs.items()}
    lacking = [name for name, metrics in recorded.items() if study.metric not in metrics]
    if not lacking:
        return
    common = _common(list(recorded.values()))
    without = next((s.task.kind for s in specs.values() if not has_accuracy(s)), None)
    if study.metric in STOP_EPOCHS:
        detail = (
            f"{study.metric} is recorded only by jobs that this stopping rule would have stopped, "
            "but the metric of record is needed of every job"
        )
    elif len(lacking) < len(specs):
        detail = f"{study.metric} isn't recorded by {listed(lacking)}, but every arm needs it"
    elif without is not None and study.metric.endswith("_accuracy"):
        detail = f"a {without} has no accuracy but metric is {study.metric}"
    else:
        detail = (
            f"no job of this study records {study.metric!r}{did_you_mean(study.metric, common)}"
        )
    yield Problem(pointer="/metric", detail=detail, remedy=f"metric: one of {listed(common)}")


def _idle_stop(study: StudySpec, specs: Mapping[str, JobSpec]) -> Iterator[Problem]:
    """A rule that is first asked when the trainings are over. How long they are may be what a search finds out."""
    stop = None if study.search is None else study.search.stop
    if stop is None or stop.kind == "wilcoxon" or not _LENGTHS.isdisjoint(study.tuned_paths):
        return
    idle = [name for name, spec in specs.items() if spec.periods <= stop.first]
    if not idle:
        return
    periods = max(specs[name].periods for name in idle)
    detail = f"{listed(idle)}: its trials have {periods} evaluation periods, after the last of which nothing is stopped"
    if len(idle) > 1:
        detail = f"{listed(idle)}: their trials have {periods} evaluation periods at most, after the last of which nothing is stopped"
    remedy = "a smaller `first`, longer trainings, or a smaller training.eval_every"
    yield Problem(pointer="/search/stop/first", detail=detail, remedy=remedy)


def _common(recorded: Sequence[Sequence[str]]) -> list[str]:
    """What all of them have, in the order of the first."""
    return [name for name in recorded[0] if all(name in other for other in recorded)]


def _unreachable_threshold(study: StudySpec, specs: Sequence[JobSpec]) -> Iterator[Problem]:
    if study.threshold is not None:
        yield from _no_curve("/threshold/metric", study.threshold.metric, specs)


def _no_curve(place: str, column: str, specs: Sequence[JobSpec]) -> Iterator[Problem]:
    if column.endswith("_accuracy") and not any(map(has_accuracy, specs)):
        loss = column.replace("accuracy", "loss")
        detail = f"a {specs[0].task.kind} has no accuracy, so there is no curve of {column}"
        yield Problem(pointer=place, detail=detail, remedy=loss)


def _asked(study: StudySpec) -> Iterator[tuple[str, Sequence[str], Sequence[Any]]]:
    """Where it stands, which arms it names, which statistics it needs."""
    for index, claim in enumerate(study.claims):
        yield pointer("claims", index), claim.arms, list(parts(claim.statistic))
    for index, panel in enumerate(study.figure):
        statistics = [part for statistic in panel_statistics(panel) for part in parts(statistic)]
        yield pointer("figure", index), panel_arms(panel), statistics


def _unknown_arms(
    place: str, names: Sequence[str], specs: Mapping[str, JobSpec]
) -> Iterator[Problem]:
    for name in names:
        if name not in specs:
            detail = f"there is no arm {name!r}{did_you_mean(name, specs)}"
            yield Problem(pointer=place, detail=detail, remedy=f"one of {listed(sorted(specs))}")


def _unmeasured(
    place: str, statistics: Sequence[Any], study: StudySpec, specs: Sequence[JobSpec]
) -> Iterator[Problem]:
    recorded = tuple(dict.fromkeys(name for spec in specs for name in recorded_metrics(spec)))
    for statistic in statistics:
        match statistic:
            case MetricOf(name=name):
                yield from _unrecorded(place, name, recorded)
            case Gain(over=variant) if variant not in study.variants:
                detail = f"there is no variant {variant!r}{did_you_mean(variant, study.variants)}"
                remedy = f"one of {listed(study.variants)}"
                yield Problem(pointer=place, detail=detail, remedy=remedy)
            case CurveOf(column=column, step=step):
                yield from _no_curve(place, column, specs)
                if step is not None:
                    yield from _unevaluated(place, step, specs)
            case StepsToReach(column=column):
                yield from _no_curve(place, column, specs)
            case DiagnosticOf(statistic=name, layer=layer):
                yield from _unseen(place, specs) or _unknown_diagnostic(place, name, layer)
            case Spread():
                yield from _unseen(place, specs)


def _unrecorded(place: str, name: str, recorded: Sequence[str]) -> Iterator[Problem]:
    """`<name>_error` is made of `<name>_accuracy`."""
    errors = [
        f"{metric.removesuffix('_accuracy')}_error"
        for metric in recorded
        if metric.endswith("_accuracy")
    ]
    names = [*recorded, *errors]
    if name not in names:
        detail = f"no job of this study records {name!r}{did_you_mean(name, names)}"
        yield Problem(pointer=place, detail=detail, remedy=f"one of {listed(names)}")


def _unevaluated(place: str, step: int, specs: Sequence[JobSpec]) -> Iterator[Problem]:
    """Of trainings by steps; how many steps an epoch has is known to the worker."""
    firsts = [spec.training.eval_every for spec in specs if isinstance(spec.training, StepTraining)]
    if len(firsts) == len(specs) and min(firsts) > step:
        yield Problem(
            pointer=place,
            detail=f"asks for a curve at step {step}, but it is first evaluated at step {min(firsts)}",
            remedy=f"`eval_every` of at most {step}, or a later step",
        )


def _unseen(place: str, specs: Sequence[JobSpec]) -> list[Problem]:
    if any(spec.diagnostics.kind != "off" for spec in specs):
        return []
    return [
        Problem(
            pointer=place,
            detail="needs diagnostics of the network, but no job records any",
            remedy="put `diagnostics: {kind: epoch}` into the base",
        )
    ]


def _unknown_diagnostic(place: str, name: str, layer: str) -> list[Problem]:
    names = NETWORK_STATISTICS if layer == NETWORK else LAYER_STATISTICS
    if name in names:
        return []
    of = "the whole network" if layer == NETWORK else "a layer"
    detail = f"diagnostics measure no {name!r} of {of}{did_you_mean(name, names)}"
    return [Problem(pointer=place, detail=detail, remedy=f"one of {listed(names)}")]


def _empty_panel(
    place: str, panel: Any, study: StudySpec, specs: Sequence[JobSpec]
) -> Iterator[Problem]:
    match panel:
        case CurvesPanel(column=column):
            yield from _no_curve(f"{place}/column", column, specs)
        case OverPanel(path=str(path)) if path not in study.matrix:
            detail = f"{path} isn't in the matrix{did_you_mean(path, study.matrix)}"
            yield Problem(pointer=f"{place}/path", detail=detail)
        case LooksPanel(statistic=name, layer=layer):
            yield from _unseen(place, specs) or _unknown_diagnostic(
                f"{place}/statistic", name, layer
            )
        case LayersPanel(statistic=name):
            yield from _unseen(place, specs) or _unknown_diagnostic(
                f"{place}/statistic", name, "last"
            )
        case FansPanel():
            yield from _unseen(place, specs)
        case ArraysPanel(panel=output, evaluation=wanted):
            yield from _unkept(place, output, wanted, specs)


def _unkept(
    place: str, output: Any, wanted: str | None, specs: Sequence[JobSpec]
) -> Iterator[Problem]:
    kept = {
        evaluation.prefix
        for spec in specs
        for evaluation in spec.evaluations
        if output in evaluation.outputs
    }
    if not kept or (wanted is not None and wanted not in kept):
        by = f"by {wanted!r}" if wanted and kept else "by any evaluation"
        yield Problem(
            pointer=place,
            detail=f"shows {output}, which isn't stored {by}{did_you_mean(wanted, kept)}",
            remedy=f"put `outputs: [{output}]` into that evaluation",
        )
