"""Roles in projects that follow a person's groups at the identity provider, as each login says them."""

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from store.access import members
from store.access.hidden import everything
from store.access.rule import ProjectRole
from store.db import LastAdmin, Project, ProjectMember, User

log = structlog.get_logger(__name__)


def follow(
    session: Session, user: User, roles: Mapping[str, ProjectRole]
) -> Sequence[tuple[str, ProjectRole | None]]:
    """Gives the person these roles, by project, and takes away what an earlier login gave in others. Returns what has
    changed; None: taken away.

    A role that somebody has given stays as it is, and so does that of a private project's last admin. A project that
    isn't there gets nobody.
    """
    changes: list[tuple[str, ProjectRole | None]] = []
    # It is nobody's request yet, from whom private projects are hidden.
    with everything(session):
        given = select(ProjectMember.project_id).where(
            ProjectMember.user_id == user.id, ProjectMember.follows_groups
        )
        concerned = or_(Project.name.in_(list(roles)), Project.id.in_(given))
        # Locked in the order in which whoever gives a role locks them, too: the project, then the member.
        locked = select(Project).where(concerned).order_by(Project.id)
        locked = locked.with_for_update(of=Project, key_share=True)
        for project in session.scalars(locked).all():
            role = roles.get(project.name)
            try:
                if _follow_one(session, project, user, role):
                    changes.append((project.name, role))
            except LastAdmin:
                log.warning(
                    "the last admin of a private project keeps that role, though no group gives it any more",
                    project=project.name,
                    user=user.name,
                )
    return changes


def _follow_one(session: Session, project: Project, user: User, role: ProjectRole | None) -> bool:
    """Whether anything has changed. Raises LastAdmin."""
    # Who gives or takes a role now either has done so before this row is read, or waits.
    row = select(ProjectMember).where(
        ProjectMember.project_id == project.id, ProjectMember.user_id == user.id
    )
    row = row.with_for_update().execution_options(populate_existing=True)
    member = session.scalars(row).one_or_none()
    if member is not None and not member.follows_groups:
        return False
    if role == (None if member is None else member.role):
        return False
    if role is None:
        return members.remove(session, project, user)
    return members.set_role(session, project, user, role, follows_groups=True)
