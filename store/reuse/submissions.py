"""New jobs that are answered when they are submitted."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from store.db import Overtaken
from store.reuse import answers
from store.reuse.equal import Asked, match
from trainer.spec import JobSpec, Numerics, content_hash


def note_answers(
    session: Session, groups: Sequence[Sequence[dict[str, Any]]], fixed: Numerics | None = None
) -> list[Numerics | None]:
    """Note in the rows (of `store.jobs.creation`) which jobs answer them; the numerics of each group of which one is
    answered.

    A group has one numerics: `fixed`, or what suits most of its rows. Until the transaction ends, nobody can delete a
    job that answers; raises Overtaken where that has just happened.
    """
    decided = _note(session, groups, fixed)
    answering = {row["reused_from"] for rows in groups for row in rows} - {None}
    if answering and not answers.keep_sources(session, answering):
        raise Overtaken
    return decided


def _note(
    session: Session, groups: Sequence[Sequence[dict[str, Any]]], fixed: Numerics | None = None
) -> list[Numerics | None]:
    wanted = {_wanted(row) for rows in groups for row in rows if _may_be_answered(row)}
    sources = answers.find_sources(session, wanted) if wanted else {}
    if not sources:
        return [None] * len(groups)
    offers = answers.read_offers(session)
    decided = []
    for rows in groups:
        # Those of a group are one person's.
        asked = [
            Asked(row["hash"] if _may_be_answered(row) else "", row["spec"], row["device"])
            for row in rows
        ]
        own = {
            hash_: found
            for (owner, hash_), found in sources.items()
            if owner == rows[0]["owner_id"]
        }
        found = match(asked, fixed, own, offers)
        for place, source_id in found.sources.items():
            rows[place]["reused_from"] = source_id
        decided.append(found.numerics)
    return decided


def find_answers(
    session: Session, owner_id: int, specs: Sequence[JobSpec], digests: Mapping[str, str]
) -> list[int | None]:
    """For each job of one study of this owner (or for one alone), which other would answer it now; `digests`: of the
    datasets, by name."""
    rows: list[dict[str, Any]] = [
        {
            "owner_id": owner_id,
            "hash": content_hash(spec, digests[spec.dataset.name]),
            "spec": spec.model_dump(mode="json"),
            "device": spec.resources.device,
            "may_reuse": True,
            "trial": None,
            "reused_from": None,
        }
        for spec in specs
    ]
    _note(session, [rows])
    return [row["reused_from"] for row in rows]


def _wanted(row: Mapping[str, Any]) -> answers.Wanted:
    return row["owner_id"], row["hash"]


def _may_be_answered(row: Mapping[str, Any]) -> bool:
    # Not a trial: the end of the last one chooses its study's setting (`studies.tuning`).
    return bool(row["may_reuse"]) and row["trial"] is None
