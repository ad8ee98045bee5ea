"""What a study's claims rest on, and their verdicts, from the database. Writes nothing."""

from sqlalchemy.orm import Session

from store.db import Study
from store.results import result_rows, series
from studies.claims.evidence import Evidence
from studies.claims.judge import judge_claims
from studies.claims.measure import Record, Seen
from studies.claims.schemas import ClaimVerdict
from studies.comparison import find_confounds, group, plan_analysis
from studies.spec import StudySpec, read_study

#: Evaluation periods are read one and all.
_ALL = 2**62


def read_claims(session: Session, study: Study) -> tuple[ClaimVerdict, ...]:
    """Of the study as it is now; none where it claims nothing."""
    spec = read_study(study.spec)
    return judge_claims(read_evidence(session, study, spec)) if spec.claims else ()


def read_evidence(session: Session, study: Study, spec: StudySpec) -> Evidence:
    """Every job of the study with its curve and what was seen inside it."""
    rows = result_rows.study_rows(session, study.id)
    curves = series.curves(session, study.id, _ALL)
    looks = series.study_looks(session, study.id)
    records = {
        row.job_id: Record(
            row,
            curves.get(row.job_id, ()),
            [Seen(one.layer, one.step, one.statistics) for one in looks.get(row.job_id, ())],
        )
        for row in rows
    }
    arms = group(rows, spec.metric)
    declared = {**spec.declared, **{kind: one["why"] for kind, one in study.declared.items()}}
    return Evidence(
        study=spec,
        arms={arm.name: arm for arm in arms},
        records={
            arm.name: {seed: records[row.job_id] for seed, row in arm.rows.items()} for arm in arms
        },
        analysis=plan_analysis(spec, arms, study.planned_seeds),
        confounds=tuple(find_confounds(spec, arms, declared)),
    )
