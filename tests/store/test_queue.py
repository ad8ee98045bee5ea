"""The order of the line."""

from sqlalchemy.orm import Session, sessionmaker

from store import attempts
from tests.factories import claim_job, make_cells, make_study, make_worker


def test_one_persons_jobs_are_claimed_in_the_order_of_the_study(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_study(session, cells=make_cells(seeds=range(6)))

    claimed = []
    for _ in range(12):
        with sessions.begin() as session:
            claim = claim_job(session)
            assert claim is not None
            claimed.append(claim.job_id)
            attempts.finish(
                session, claim.job_id, 1, reason="completed", metrics={}, seconds_used=9.0
            )

    assert claimed == sorted(claimed)
