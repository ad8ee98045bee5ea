"""Projects, created when they are first named."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.db import Project, User


def get_or_create(session: Session, name: str, owner: User) -> Project:
    """The project of this name, created for the owner if it does not exist."""
    query = select(Project).where(Project.name == name)
    # Nearly every project that is named is there already.
    if (project := session.scalars(query).one_or_none()) is not None:
        return project
    made = insert(Project).values(name=name, owner_id=owner.id)
    session.execute(made.on_conflict_do_nothing(index_elements=[Project.name]))
    return session.scalars(query).one()


def list_projects(session: Session) -> Sequence[Project]:
    """All, by name."""
    return session.scalars(select(Project).order_by(Project.name)).all()
