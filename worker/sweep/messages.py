"""The content of messages about a study or a job that has ended: JSON, text for a chat, or mail."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from store.db import Job, Verdict, lifecycle
from store.webhooks import EndedStudy, Message

#: Of an error or a sentence.
_MOST_CHARACTERS = 1000


def of_study(
    ended: EndedStudy, sentence: str | None, claims: Sequence[Verdict], base_url: str | None
) -> Message:
    """`sentence`: the verdict on its variants; None: it could not be found."""
    study, counts = ended.study, {name: n for name, n in ended.counts.items() if n}
    url = f"{base_url}/studies/{study.id}" if base_url else None
    data = {
        "study": study.id,
        "name": study.name,
        "project": study.project.name,
        "owner": study.owner.name,
        "status": ended.status,
        "jobs": counts,
        "verdict": sentence,
        "claims": [
            {"name": one.claim, "verdict": one.verdict, "sentence": one.sentence} for one in claims
        ],
        "url": url,
    }
    jobs = ", ".join(f"{count} {name}" for name, count in counts.items())
    said = f"(s{study.id}) has ended: {ended.status}"
    lines = [sentence] if sentence else []
    lines += [f"{one.claim}: {one.verdict}. {one.sentence}" for one in claims]
    return Message(
        event=f"study {study.id} ended {ended.at.isoformat()}",
        bodies={
            "standard": _as_json("study.ended", ended.at, data),
            "slack": _for_chat(study.name, f"{said}. Jobs: {jobs}.", lines, url),
            "mail": as_mail(f"{study.name} {said}", [f"Jobs: {jobs}.", *lines], url),
        },
        study_id=study.id,
    )


def of_job(job: Job, base_url: str | None) -> Message:
    """One that failed for good."""
    assert job.finished_at is not None
    url = f"{base_url}/jobs/{job.id}" if base_url else None
    error = lifecycle.in_words(job.error or "")[:_MOST_CHARACTERS]
    data = {
        "job": job.id,
        "name": job.name,
        "project": job.project.name if job.project else None,
        "owner": job.owner.name,
        "reason": job.reason,
        "error": error,
        "url": url,
    }
    said = f"(j{job.id}) has failed: {job.reason}"
    lines = [error] if error else []
    return Message(
        event=f"job {job.id} failed {job.finished_at.isoformat()}",
        bodies={
            "standard": _as_json("job.failed", job.finished_at, data),
            "slack": _for_chat(job.name, f"{said}.", lines, url),
            "mail": as_mail(f"{job.name} {said}", lines, url),
        },
        job_id=job.id,
    )


def _as_json(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    return json.dumps({"type": kind, "timestamp": at.isoformat(), "data": data})


def _for_chat(name: str, said: str, lines: Sequence[str], url: str | None) -> str:
    """As Slack wants it: nobody is mentioned by what somebody called a study."""
    first = f"*{_escape(name)}* {_escape(said)}"
    rest = [_escape(line) for line in [*lines, *([url] if url else [])]]
    return json.dumps({"text": "\n".join([first, *rest])})


def as_mail(subject: str, paragraphs: Sequence[str], url: str | None) -> str:
    """What `worker.sweep.mailing` makes a mail of."""
    parts = [_shorten(one) for one in paragraphs]
    text = "\n\n".join([f"{subject}.", *parts, *([url] if url else [])])
    return json.dumps({"subject": _shorten(subject), "text": text})


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _escape(text: str) -> str:
    return _shorten(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
