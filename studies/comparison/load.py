"""A study's answer from the database: reads all that a comparison rests on. Writes nothing."""

from sqlalchemy.orm import Session

from store.db import Study
from store.results import curves, result_rows
from studies.comparison.compare import Known, compare
from studies.comparison.schemas import Comparison
from studies.spec import read_study


def read_comparison(session: Session, study: Study, metric: str | None = None) -> Comparison:
    """Of the study as it is now; None: its metric of record."""
    spec = read_study(study.spec)
    reached = spec.threshold
    first_steps = (
        curves.first_steps(session, study.id, reached.metric, reached.value) if reached else None
    )
    known = Known(
        planned_seeds=study.planned_seeds,
        declared={kind: one["why"] for kind, one in study.declared.items()},
        first_steps=first_steps,
    )
    return compare(spec, result_rows.study_rows(session, study.id), metric, known)
