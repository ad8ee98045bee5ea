"""Projects, created when they are first named, or beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from store.access import EVERYTHING, Visibility
from store.db import Job, NameTaken, Project, ProjectMember, Study, User


def get_or_create(session: Session, name: str, owner: User) -> Project:
    """The project of this name, created for the owner if it does not exist.

    Also one that is hidden from them: who submits to it asks `members.ensure_may_submit`.
    """
    # Locked, so that it is not deleted before what names it is there; one that is being deleted is made anew.
    query = select(Project).where(Project.name == name).with_for_update(read=True, key_share=True)
    query = query.execution_options(**{EVERYTHING: True})
    # Nearly every project that is named is there already.
    if (project := session.scalars(query).one_or_none()) is not None:
        return project
    _make(session, name, owner, "open")
    return session.scalars(query).one()


def create(session: Session, name: str, owner: User, visibility: Visibility) -> Project:
    """Raises NameTaken."""
    project_id = _make(session, name, owner, visibility)
    if project_id is None:
        raise NameTaken(f"a project can't be named {name}: the name is taken")
    query = select(Project).options(joinedload(Project.owner)).where(Project.id == project_id)
    return session.scalars(query.execution_options(**{EVERYTHING: True})).one()


def _make(session: Session, name: str, owner: User, visibility: Visibility) -> int | None:
    """Its id, with its creator as its admin; None where there is one of this name."""
    new = insert(Project).values(name=name, owner_id=owner.id, visibility=visibility)
    new = new.on_conflict_do_nothing(index_elements=[Project.name])
    made = new.returning(Project.id, Project.owner_id).cte("made")
    listed = insert(ProjectMember).from_select(
        ["project_id", "user_id", "role"], select(made.c.id, made.c.owner_id, literal("admin"))
    )
    return session.scalars(listed.returning(ProjectMember.project_id)).one_or_none()


def find(session: Session, name: str) -> Project | None:
    """With its owner."""
    query = select(Project).options(joinedload(Project.owner)).where(Project.name == name)
    return session.scalars(query).one_or_none()


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a project: who is listed in it, and what its reader may see in it."""

    members: int = 0
    studies: int = 0
    jobs: int = 0


def count(session: Session) -> Mapping[int, Counts]:
    """By project; those of which all is 0 are not there."""
    sums: dict[int, dict[str, int]] = {}
    for name, table in (("members", ProjectMember), ("studies", Study), ("jobs", Job)):
        query = select(table.project_id, func.count()).group_by(table.project_id)
        for project_id, number in session.execute(query):
            # A job that decodes a dataset is in none.
            if project_id is not None:
                sums.setdefault(project_id, {})[name] = number
    return {project_id: Counts(**numbers) for project_id, numbers in sums.items()}


def list_projects(session: Session) -> Sequence[Project]:
    """All, with their owners, by name."""
    query = select(Project).options(joinedload(Project.owner)).order_by(Project.name)
    return session.scalars(query).all()
