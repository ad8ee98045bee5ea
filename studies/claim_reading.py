"""What a study's claims rest on, and their verdicts, from the database. Writes nothing."""

from sqlalchemy.orm import Session

from store import reports, results
from store.models import Study
from studies.arms import group
from studies.claim_answers import ClaimVerdict
from studies.confounds import find_confounds
from studies.evidence import Evidence
from studies.judging import judge_claims
from studies.measures import Record, Seen
from studies.planning import plan_analysis
from studies.spec import StudySpec, read_study

#: Evaluation periods are read one and all.
_ALL = 2**62


def read_claims(session: Session, study: Study) -> tuple[ClaimVerdict, ...]:
    """Of the study as it is now; none where it claims nothing."""
    spec = read_study(study.spec)
    return judge_claims(read_evidence(session, study, spec)) if spec.claims else ()


def read_evidence(session: Session, study: Study, spec: StudySpec) -> Evidence:
    """Every job of the study with its curve and what was seen inside it."""
    rows = results.study_rows(session, study.id)
    curves = reports.curves(session, study.id, _ALL)
    looks = reports.study_looks(session, study.id)
    records = {
        row["job_id"]: Record(
            row,
            curves.get(row["job_id"], ()),
            [Seen(one.layer, one.step, one.statistics) for one in looks.get(row["job_id"], ())],
        )
        for row in rows
    }
    arms = group(rows, spec.metric)
    declared = {**spec.declared, **{kind: one["why"] for kind, one in study.declared.items()}}
    return Evidence(
        study=spec,
        arms={arm.name: arm for arm in arms},
        records={
            arm.name: {seed: records[row["job_id"]] for seed, row in arm.rows.items()}
            for arm in arms
        },
        analysis=plan_analysis(spec, arms, study.planned_seeds),
        confounds=tuple(find_confounds(spec, arms, declared)),
    )
