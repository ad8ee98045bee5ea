"""The descriptions of runs, in Markdown: a job's outcome, a study's comparison.

What people have typed, and what contains it, is escaped: a name becomes no link, no picture and no HTML.
"""

from typing import Any

from store.db import FINAL_STATUSES
from store.mlflow import JobToMirror, StudyToMirror
from studies.comparison import Comparison
from studies.report import markdown_text, to_markdown, variants_table
from worker.mirror.limits import LONGEST_TAG, clip, run_name

_LONGEST_ERROR = 4000


def job_note(record: JobToMirror) -> str:
    job = record.job
    outcome = f"{job.status} ({job.reason})" if job.reason else job.status
    lines = [
        f"**{markdown_text(run_name(job.name))}**",
        "",
        f"Job {job.id} of {markdown_text(record.owner)}"
        + (f" in study *{markdown_text(record.study.name)}*" if record.study else ""),
        "",
        f"Status: **{outcome}** after {job.attempt} attempt{'' if job.attempt == 1 else 's'}",
        "",
    ]
    values = {**job.metrics, **job.non_finite}
    if job.status in FINAL_STATUSES and values:
        lines += ["| metric | value |", "|---|---|"]
        lines += [f"| {markdown_text(name)} | {_number(value)} |" for name, value in values.items()]
        lines += [""]
    lines += [f"- {markdown_text(warning)}" for warning in job.warnings]
    if job.error:
        lines += ["", "```", job.error[-_LONGEST_ERROR:].replace("```", "'''"), "```"]
    return clip("\n".join(lines), LONGEST_TAG)


def study_note(record: StudyToMirror, comparison: Comparison | None) -> str:
    study = record.study
    finished = sum(job.status in FINAL_STATUSES for job in record.jobs)
    lines = [
        f"**{markdown_text(study.name)}**: {finished} of {len(record.jobs)} jobs are finished.",
        "",
        *([markdown_text(study.spec["description"]), ""] if study.spec.get("description") else []),
    ]
    if record.verdicts:
        answers = [(one.answer["says"], one.sentence) for one in record.verdicts]
        lines += [
            *(
                f"- {markdown_text(says)}: **{markdown_text(sentence)}**"
                for says, sentence in answers
            ),
            "",
        ]
    if comparison is not None:
        verdict = comparison.verdict
        reasons = [f"- {markdown_text(reason)}" for reason in verdict.reasons]
        lines += [f"**{markdown_text(verdict.sentence)}**", "", *reasons, ""]
        table = to_markdown(variants_table(comparison, brief=True))
        notes = [f"- {markdown_text(note)}" for note in comparison.notes]
        lines += [table, "", markdown_text(comparison.reading), "", *notes]
    return clip("\n".join(lines), LONGEST_TAG)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
