"""A report in the order in which it is read, as plain words: what every format of it says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from studies.comparison import Comparison
from studies.presets import PresetRun
from studies.report.schemas import JobReport, ReportInput
from studies.report.tables import (
    NOTHING,
    Table,
    axis_table,
    claims_table,
    slopes_table,
    variants_table,
)
from studies.report.tuning_tables import (
    budget_table,
    importance_notes,
    importance_table,
    replays_table,
    trial_notes,
    trials_table,
)
from studies.spec import StudySpec
from studies.stats import amount, count, listed, size, validation_metric
from studies.tuning import leads

_REPLAYS = (
    "Replayed over the trials as they were trained, in their order: nothing was stopped. Within arms, a trial is compared "
    "with those of its own arm alone that have trained as long, and a third of each arm's trials is trained to the end."
)
_IQM = "IQM: the mean without the lowest and the highest quarter."


@dataclass(frozen=True, slots=True)
class AxisPart:
    """One path of the matrix; `slopes` has no rows where its values are no numbers."""

    path: str
    means: Table
    slopes: Table


@dataclass(frozen=True, slots=True)
class Link:
    """Words that lead somewhere."""

    words: str
    url: str


@dataclass(frozen=True, slots=True)
class Page:
    """The report's parts, from the answer to what it rests on."""

    title: str
    facts: tuple[str, ...]
    description: str
    link: Link | None
    verdict: str
    state: str
    reasons: tuple[str, ...]
    preset: PresetRun | None
    claims: Table | None
    claim_sentences: tuple[str, ...]
    trials: Table | None
    trial_notes: tuple[str, ...]
    budget: Table | None
    budget_notes: tuple[str, ...]
    importance: Table | None
    importance_notes: tuple[str, ...]
    replays: Table | None
    replays_note: str
    variants: Table
    best: str | None
    reading: str
    sensitivities: tuple[str, ...]
    notes: tuple[str, ...]
    axes: tuple[AxisPart, ...]
    open_confounds: tuple[str, ...]
    declared: tuple[str, ...]
    consequences: tuple[str, ...]
    spec: str
    provenance: tuple[tuple[str, str], ...]
    jobs: Table
    job_links: tuple[Link | None, ...]


def make_page(report: ReportInput) -> Page:
    comparison = report.comparison
    baseline = comparison.baseline
    return Page(
        title=report.name,
        facts=tuple(_facts(report)),
        description=report.description,
        link=Link("The study in MLflow", report.mlflow_url) if report.mlflow_url else None,
        verdict=comparison.verdict.sentence,
        state=comparison.verdict.state,
        reasons=comparison.verdict.reasons,
        preset=report.preset,
        claims=claims_table(report.claims) if report.claims else None,
        claim_sentences=tuple(f"{one.name}: {one.sentence}" for one in report.claims),
        trials=trials_table(report.tuned, comparison.metric) if report.tuned else None,
        trial_notes=tuple(trial_notes(report.tuned, _planned_trials(report))),
        budget=budget_table(report.tuned, comparison.metric, learns=_learns(report)),
        budget_notes=tuple(_budget_notes(report)),
        importance=importance_table(report.tuned),
        importance_notes=tuple(importance_notes(report.tuned)),
        replays=replays_table(report.replays, comparison.metric),
        replays_note=_REPLAYS,
        variants=variants_table(comparison),
        best=comparison.best.name if comparison.best else None,
        reading=f"{comparison.reading} {_IQM}",
        sensitivities=comparison.sensitivities,
        notes=(*comparison.notes, *report.warnings),
        axes=tuple(
            AxisPart(axis.path, axis_table(axis, comparison), slopes_table(axis, comparison))
            for axis in comparison.axes
        ),
        open_confounds=tuple(one.describe(baseline) for one in comparison.confounds if one.is_open),
        declared=tuple(
            f"{one.describe(baseline)}. {_who(report, one.kind)}: {one.declared}"
            for one in comparison.confounds
            if not one.causes and one.declared is not None
        ),
        consequences=tuple(_capital(one) for one in comparison.consequences),
        spec=spec_text(report.spec, report.variants),
        provenance=tuple(_provenance(report)),
        jobs=_jobs_table(report.jobs, comparison),
        job_links=tuple(
            Link("run", one.mlflow_url) if one.mlflow_url else None for one in report.jobs
        ),
    )


def _planned_trials(report: ReportInput) -> int | None:
    search = report.spec.get("search")
    return None if search is None else int(search["trials"])


def _learns(report: ReportInput) -> bool:
    """Whether later trials of its search rested on earlier ones."""
    search = report.spec.get("search")
    return search is not None and search["sampler"]["kind"] == "tpe"


def _budget_notes(report: ReportInput) -> Iterator[str]:
    metric, learns = validation_metric(report.comparison.metric), _learns(report)
    if learns:
        yield (
            "The best of the first trials, in the order in which they were proposed: later ones rest on what came "
            "out of earlier ones"
        )
    else:
        yield (
            "What the best of so many of the arm's trials comes to on average over all choices of so many (Tang et al. "
            "2020), with a 95 % bootstrap band"
        )
    for one in leads(report.tuned, metric, learns=learns):
        if one.whole == 0:
            yield f"On validation, {one.arm} and {one.second} do equally well with {one.trials} trials each"
            continue
        half = max(1, one.trials // 2)
        if one.half > 0:
            then = f"with {half} it would lead the others by {size(one.half, metric)}"
        else:
            then = f"with {half} it would not lead: {size(one.half, metric)} less than the best other arm"
        yield (
            f"On validation, {one.arm} leads {one.second} by {size(one.whole, metric)} with {one.trials} trials "
            f"each; {then}"
        )


def spec_text(spec: Mapping[str, Any], variants: tuple[str, ...]) -> str:
    """The study document as YAML, in the order in which one writes it and without empty parts: the
    database keeps no order."""
    fields = [
        *StudySpec.model_fields,
        *(name for name in spec if name not in StudySpec.model_fields),
    ]
    document = {name: spec[name] for name in fields if spec.get(name) not in (None, "", {}, [])}
    if isinstance(known := document.get("variants"), Mapping):
        order = dict.fromkeys(name for name in (*variants, *known) if name in known)
        document["variants"] = {name: known[name] for name in order}
    return yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        # Innermost parts stand on one line.
        default_flow_style=None,
    )


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def _facts(report: ReportInput) -> Iterator[str]:
    yield f"Study s{report.study_id} in {report.project}, by {report.owner}"
    yield f"{report.status}: {count(len(report.jobs), 'job')}"
    yield f"submitted {_time(report.created_at)}"
    if report.finished_at is not None:
        yield f"finished {_time(report.finished_at)}"


def _provenance(report: ReportInput) -> Iterator[tuple[str, str]]:
    found = report.provenance
    yield "study document", found.spec
    for name, digest in found.data.items():
        yield f"data set {name}", digest or "not decoded"
    for name, values in found.environment.items():
        label = "code of the trainer" if name == "code" else name.replace("_", " ")
        yield label, listed(values)


def _who(report: ReportInput, kind: str) -> str:
    """Who declared it; what the study document declares, its owner did."""
    return f"Declared by {report.declared_by.get(kind, report.owner)}"


def _jobs_table(jobs: tuple[JobReport, ...], comparison: Comparison) -> Table:
    header = ("job", "variant", "seed", "status", comparison.metric.replace("_", " "), "kept epoch")
    return Table(header, tuple(_job_row(one, comparison.metric) for one in jobs))


def _job_row(one: JobReport, metric: str) -> tuple[str, ...]:
    reason = f" ({one.reason})" if one.reason not in (None, one.status) else ""
    kept = one.metrics.get("best_epoch")
    return (
        f"j{one.id}",
        one.arm,
        str(one.seed),
        one.status + reason,
        NOTHING if one.value is None else amount(one.value, metric),
        NOTHING if kept is None else f"{kept:g}",
    )


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
