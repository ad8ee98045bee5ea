"""The descriptions of runs, in Markdown: a job's outcome, a study's comparison. Sends nothing."""

from typing import Any

from store.mirror import JobToMirror, StudyToMirror
from store.models import FINAL_STATUSES
from studies.answers import Comparison, Difference, VariantSummary
from worker.tracking import LONGEST_TAG

_LONGEST_ERROR = 4000


def job_note(record: JobToMirror) -> str:
    job = record.job
    outcome = f"{job.status} ({job.reason})" if job.reason else job.status
    lines = [
        f"**{job.name}**",
        "",
        f"Job {job.id} of {record.owner}"
        + (f" in study *{record.study.name}*" if record.study else ""),
        "",
        f"Status: **{outcome}** after {job.attempt} attempt{'' if job.attempt == 1 else 's'}",
        "",
    ]
    values = {**job.metrics, **job.non_finite}
    if job.status in FINAL_STATUSES and values:
        lines += ["| metric | value |", "|---|---|"]
        lines += [f"| {name} | {_number(value)} |" for name, value in values.items()]
        lines += [""]
    lines += [f"- {warning}" for warning in job.warnings]
    if job.error:
        lines += ["", "```", job.error[-_LONGEST_ERROR:].replace("```", "'''"), "```"]
    return _limited("\n".join(lines))


def study_note(record: StudyToMirror, comparison: Comparison | None) -> str:
    study = record.study
    finished = sum(job.status in FINAL_STATUSES for job in record.jobs)
    lines = [
        f"**{study.name}**: {finished} of {len(record.jobs)} jobs are finished.",
        "",
        *([study.spec["description"], ""] if study.spec.get("description") else []),
    ]
    if comparison is not None:
        verdict = comparison.verdict
        lines += [f"**{verdict.sentence}**", "", *(f"- {reason}" for reason in verdict.reasons), ""]
        lines += [*_table(comparison), "", *(f"- {note}" for note in comparison.notes)]
    return _limited("\n".join(lines))


def _table(comparison: Comparison) -> list[str]:
    percent = f"{comparison.confidence:.0%}"
    return [
        f"`{comparison.metric}`; differences to *{comparison.baseline}*, paired by seed; "
        f"intervals are Student's t at {percent}.",
        "",
        f"| variant | n | mean ± std | {percent} interval | difference | p | p after Holm | decision | epochs | diverged | failed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_table_row(one) for one in comparison.variants),
    ]


def _table_row(one: VariantSummary) -> str:
    difference = one.difference
    spread = "" if one.std is None else f" ± {_number(one.std)}"
    cells = [
        one.name,
        str(one.n),
        _number(one.mean) + spread,
        _interval(one.interval),
        ""
        if difference is None
        else f"{_signed(difference.mean)} {_interval(difference.interval)}",
        *_decided(difference),
        _number(one.epochs.mean),
        str(one.diverged),
        str(one.failed),
    ]
    return "| " + " | ".join(cells) + " |"


def _decided(difference: Difference | None) -> tuple[str, str, str]:
    if difference is None or difference.p_value is None or difference.p_adjusted is None:
        return "", "", ""
    return (
        f"{difference.p_value:.3g}",
        f"{difference.p_adjusted:.3g}",
        difference.decision or "withheld",
    )


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{_number(interval[0])}, {_number(interval[1])}]"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4g}"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _limited(note: str) -> str:
    return note if len(note) <= LONGEST_TAG else note[: LONGEST_TAG - 2] + " …"
