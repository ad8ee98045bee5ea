"""From one look of a study to the next, as long as a claim of it or, without any, a comparison is undecided: a function of the jobs that SQL has.

All arms get the same seeds: a study stops, or goes on, as a whole.
"""

from sqlalchemy.orm import Session

from store.studies import studies
from studies.claims import are_open
from studies.comparison import StudyEvidence, read_evidence, rule
from studies.spec import StudySpec, expand, read_study
from studies.tuning import UnheardRequest, add_cells, chosen_settings


def grow(session: Session, study_id: int, request: UnheardRequest | None = None) -> None:
    """After a job of the study has succeeded: where it was the last of a look that leaves something undecided, makes the
    jobs of the next look. `request`: meets what is made, or a study that was cancelled would go on.

    Nothing follows while a job of the look has failed or was cancelled, until it is retried: a look without it would not be
    the one that was declared.
    """
    if not studies.is_growing(session, study_id):
        return
    # Two workers may close the last two jobs at once. The lock makes the second wait; it then sees what the first has made
    # and returns.
    study = studies.lock(session, study_id)
    spec = read_study(study.spec)
    size = find_next_look(spec)
    if size is None or not studies.have_all_succeeded(session, study_id):
        return
    evidence = read_evidence(session, study, with_records=bool(spec.claims))
    # A job that succeeded without a value keeps its look from being taken, and all later ones.
    if len(spec.seed_list) not in evidence.taken_looks:
        return
    if not _is_undecided(evidence):
        return
    grown = spec.add_seeds(size - len(spec.seed_list))
    study.spec = grown.model_dump(mode="json")
    session.flush()
    add_cells(session, study, expand(grown, chosen_settings(study)), request)


def _is_undecided(evidence: StudyEvidence) -> bool:
    """Whatever withholds the verdict: a difference between variants that is declared later changes no statistic, and must
    not decide how many seeds there are."""
    if evidence.study.claims:
        return are_open(evidence)
    return any(ruling.outcome == "undecided" for ruling in rule(evidence).values())


def find_next_look(study: StudySpec) -> int | None:
    """How many seeds it has; None after the last."""
    return next((look for look in study.looks if look > len(study.seed_list)), None)
