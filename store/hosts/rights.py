"""Whether the database's role is one that a worker can work with."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def find_missing_rights(session: Session) -> str | None:
    """A sentence for people; None where nothing is missing."""
    if session.scalar(select(func.to_regclass("leases"))) is None:
        return "the database has no tables of Normlab (NORMLAB_DATABASE_URL): run `python -m migrations` first"
    if not session.scalar(select(func.has_table_privilege("leases", "UPDATE"))):
        role = session.scalar(select(func.current_user()))
        return (
            f"the role {role} can't work on jobs (NORMLAB_DATABASE_URL): workers log in as normlab_worker, as "
            "docs/operations.md says"
        )
    return None
