"""New jobs that are answered when they are submitted."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from store.reuse import answers
from store.reuse.equal import Asked, match
from trainer.spec import JobSpec, Numerics, content_hash


def note_answers(
    session: Session, groups: Sequence[Sequence[dict[str, Any]]], fixed: Numerics | None = None
) -> list[Numerics | None]:
    """Note in the rows (of `store.jobs.creation`) which jobs answer them; the numerics of each group of which one is
    answered.

    A group has one numerics: `fixed`, or what suits most of its rows.
    """
    hashes = {row["hash"] for rows in groups for row in rows if _may_be_answered(row)}
    sources = answers.find_sources(session, hashes) if hashes else {}
    if not sources:
        return [None] * len(groups)
    offers = answers.read_offers(session)
    decided = []
    for rows in groups:
        asked = [
            Asked(row["hash"] if _may_be_answered(row) else "", row["spec"], row["device"])
            for row in rows
        ]
        found = match(asked, fixed, sources, offers)
        for place, source_id in found.sources.items():
            rows[place]["reused_from"] = source_id
        decided.append(found.numerics)
    return decided


def find_answers(
    session: Session, specs: Sequence[JobSpec], digests: Mapping[str, str]
) -> list[int | None]:
    """For each job of one study (or for one alone), which other would answer it now; `digests`: of the datasets, by
    name."""
    rows: list[dict[str, Any]] = [
        {
            "hash": content_hash(spec, digests[spec.dataset.name]),
            "spec": spec.model_dump(mode="json"),
            "device": spec.resources.device,
            "may_reuse": True,
            "trial": None,
            "reused_from": None,
        }
        for spec in specs
    ]
    note_answers(session, [rows])
    return [row["reused_from"] for row in rows]


def _may_be_answered(row: Mapping[str, Any]) -> bool:
    # Not a trial: the end of the last one chooses its study's setting (`studies.tuning`).
    return bool(row["may_reuse"]) and row["trial"] is None
