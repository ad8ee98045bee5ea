"""Who is listed in a project, and as what: as the database has it now."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, delete, func, literal, select, union
from sqlalchemy import literal_column as written
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from store.access.rule import ProjectRole, Visibility, may_submit
from store.db import Deletion, Job, LastAdmin, Project, ProjectMember, ProjectRefused, Study, User

# Tables, not entities: what is asked here is what sessions hide by.
_projects, _members, _users = (entity.__table__ for entity in (Project, ProjectMember, User))

#: Whether an admin of a project can act as one.
_IS_ABLE = and_(User.role != "viewer", User.disabled_at.is_(None))


def private_roles() -> ScalarSelect[Any]:
    """Of the user of the statement: by each private project their role in it, null where they have none; NULL where no
    project is private."""
    own = and_(_members.c.project_id == _projects.c.id, _members.c.user_id == User.id)
    return (
        select(func.json_object_agg(_projects.c.id, _members.c.role))
        .select_from(_projects.outerjoin(_members, own))
        .where(_projects.c.visibility == written("'private'"))
        .correlate(User)
        .scalar_subquery()
    )


def is_readable(project_id: Any, user_id: Any) -> ColumnElement[bool]:
    """Whether this person may read what is in the project; true of what is in none."""
    project, member, user = _projects.alias(), _members.alias(), _users.alias()
    is_listed = select(member.c.role).where(
        member.c.project_id == project.c.id, member.c.user_id == user_id
    )
    is_admin = select(user.c.id).where(user.c.id == user_id, user.c.role == written("'admin'"))
    is_hidden = select(project.c.id).where(
        project.c.id == project_id,
        project.c.visibility == written("'private'"),
        ~is_listed.correlate_except(member).exists(),
        ~is_admin.correlate_except(user).exists(),
    )
    return ~is_hidden.correlate_except(project).exists()


def experiments_of(session: Session, project_ids: Collection[int]) -> frozenset[str]:
    """Of these projects, those that MLflow has, and of deleted private ones, those that the mirror has yet to erase."""
    # The columns that the role of MLflow's login may read.
    ids = select(_projects.c.experiment_id).where(
        _projects.c.id.in_(project_ids), _projects.c.experiment_id.is_not(None)
    )
    deleted = select(Deletion.mirrored["experiment_id"].astext).where(
        Deletion.kind == "project",
        Deletion.runs_at.is_(None),
        Deletion.mirrored["visibility"].astext == "private",
    )
    return frozenset(session.scalars(ids)) | frozenset(session.scalars(deleted))


def ensure_may_submit(session: Session, project: Project, people: Collection[User]) -> None:
    """Raises ProjectRefused if one of these people may not."""
    if project.visibility == "open":
        return
    ids = [person.id for person in people]
    query = select(_members.c.user_id, _members.c.role)
    of_people = query.where(_members.c.project_id == project.id, _members.c.user_id.in_(ids))
    roles = {user_id: project_role for user_id, project_role in session.execute(of_people)}
    for person in people:
        project_role = roles.get(person.id)
        if may_submit(person.role, project.visibility, project_role):
            continue
        if project_role is None:
            # That the name is taken can't be hidden from whoever tries to use it.
            raise ProjectRefused(
                f"{person.name} can't submit to a project named {project.name}: choose another name"
            )
        raise ProjectRefused(
            f"{person.name} is a viewer of project {project.name}: only its members and admins can submit to it"
        )


def list_members(session: Session, project: Project) -> Sequence[ProjectMember]:
    """With their users, by name."""
    query = select(ProjectMember).join(User, User.id == ProjectMember.user_id)
    own = query.where(ProjectMember.project_id == project.id)
    return session.scalars(own.options(joinedload(ProjectMember.user)).order_by(User.name)).all()


def roles_of(session: Session, user_id: int) -> Mapping[int, str]:
    """By project this person's role in it."""
    query = select(ProjectMember.project_id, ProjectMember.role)
    rows = session.execute(query.where(ProjectMember.user_id == user_id))
    return {project_id: project_role for project_id, project_role in rows}


def set_role(
    session: Session,
    project: Project,
    user: User,
    project_role: ProjectRole,
    *,
    follows_groups: bool = False,
) -> bool:
    """Whether it was set. `follows_groups`: it is nobody here who gives it, and what somebody has given stays. Raises
    LastAdmin."""
    if project_role != "admin":
        _ensure_other_admin(session, project, user)
    # What somebody has given is no group's to change any more.
    values = {"role": project_role, "follows_groups": follows_groups}
    row = insert(ProjectMember).values(project_id=project.id, user_id=user.id, **values)
    # Somebody may have given one since the row was looked for: seen only by the statement that writes it.
    may_change = ProjectMember.follows_groups.is_(True) if follows_groups else None
    written_row = row.on_conflict_do_update(
        index_elements=["project_id", "user_id"], set_=values, where=may_change
    ).returning(ProjectMember.user_id)
    return session.execute(written_row).one_or_none() is not None


def remove(session: Session, project: Project, user: User) -> bool:
    """Whether the person was listed. Raises LastAdmin."""
    _ensure_other_admin(session, project, user)
    own = and_(ProjectMember.project_id == project.id, ProjectMember.user_id == user.id)
    gone = delete(ProjectMember).where(own).returning(ProjectMember.user_id)
    return session.execute(gone).one_or_none() is not None


def _ensure_other_admin(session: Session, project: Project, user: User) -> None:
    """Raises LastAdmin if only this person says who may read the private project."""
    # Locked, so that of two who leave at once the second finds the first gone. Submissions don't wait for it.
    locked = select(Project.visibility).where(Project.id == project.id)
    if session.scalar(locked.with_for_update(key_share=True)) != "private":
        return
    admins = (
        select(User.id)
        .join(ProjectMember, ProjectMember.user_id == User.id)
        .where(ProjectMember.project_id == project.id, ProjectMember.role == "admin")
        .where(_IS_ABLE)
    )
    if {*session.scalars(admins)} == {user.id}:
        raise LastAdmin(
            f"{user.name} is the last admin of private project {project.name}: make somebody else an admin of it first"
        )


def list_unmanaged(session: Session, user: User | None = None) -> Sequence[str]:
    """By name the private projects without an admin who can act as one: whoever was it is disabled, or a viewer of the
    service now. `user`: only those of which this person is an admin."""
    of_project = and_(ProjectMember.project_id == Project.id, ProjectMember.role == "admin")
    able = select(User.id).join(ProjectMember, ProjectMember.user_id == User.id)
    query = select(Project.name).where(
        Project.visibility == "private", ~able.where(of_project, _IS_ABLE).exists()
    )
    if user is not None:
        own = select(ProjectMember.user_id).where(of_project, ProjectMember.user_id == user.id)
        query = query.where(own.exists())
    return session.scalars(query.order_by(Project.name)).all()


def set_visibility(session: Session, project: Project, visibility: Visibility, by: User) -> None:
    """Whoever has jobs or studies in a project that becomes private is listed as a member of it from then on.

    Raises ProjectRefused where that would take what others have submitted away from everybody.
    """
    # Waits for submissions that have read the project; those that come later see what it is then.
    locked = select(Project).options(joinedload(Project.owner)).where(Project.id == project.id)
    locked = locked.with_for_update(of=Project)
    row = session.scalars(locked, execution_options={"populate_existing": True}).one()
    owners = union(
        *(
            select(table.owner_id.label("owner_id")).where(table.project_id == project.id)
            for table in (Job, Study)
        )
    ).subquery("owners")
    if visibility == "private" and row.visibility == "open" and by.role != "admin":
        others = select(User.name).join(owners, owners.c.owner_id == User.id)
        others = others.where(User.id != by.id).order_by(User.name)
        if names := session.scalars(others).all():
            raise ProjectRefused(
                f"project {project.name} has jobs or studies of {', '.join(names)}: only an admin of the service can make it private"
            )
    row.visibility = visibility
    session.flush()
    if visibility == "private":
        listed = select(literal(project.id), owners.c.owner_id, literal("member"))
        new = insert(ProjectMember).from_select(["project_id", "user_id", "role"], listed)
        session.execute(new.on_conflict_do_nothing())
