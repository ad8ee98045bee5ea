"""The order of the line."""

from sqlalchemy.orm import Session, sessionmaker

from tests.factories import claim_job, make_cells, make_study, make_worker


def test_one_persons_jobs_are_claimed_in_the_order_of_the_study(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=12)
        make_study(session, cells=make_cells(seeds=range(6)))

    claimed = []
    for _ in range(12):
        with sessions.begin() as session:
            claim = claim_job(session)
            assert claim is not None
            claimed.append(claim.job_id)

    assert claimed == sorted(claimed)
