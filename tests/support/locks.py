"""Whether something in the test's database waits for another transaction."""

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker


def waits_for_a_lock(sessions: sessionmaker[Session]) -> bool:
    """Whether a statement in this database waits for another transaction."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with sessions() as session:
        return bool(session.scalar(waiting))
