"""Schemas of projects and their members."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from api.schemas.jobs import View
from api.schemas.service import Role
from store.db import Project, ProjectMember
from trainer.spec import Name, Part

Visibility = Annotated[
    Literal["open", "private"],
    Field(
        description="`open`: everybody reads, members of the service submit; `private`: only those who are listed"
    ),
]


class ProjectView(View):
    """A project that the reader may read."""

    name: str
    visibility: Visibility
    owner: Annotated[str, Field(description="who has created it")]
    role: Annotated[
        Role | None, Field(description="of the reader in this project; null: they are not listed")
    ]
    created_at: datetime

    @classmethod
    def of(cls, project: Project, role: str | None) -> Self:
        return cls.model_validate(
            {
                "name": project.name,
                "visibility": project.visibility,
                "owner": project.owner.name,
                "role": role,
                "created_at": project.created_at,
            }
        )


class MemberView(View):
    """Somebody's role in a project."""

    user: str
    role: Role
    follows_groups: Annotated[
        bool,
        Field(
            description="nobody here has given it: it follows the person's groups at the identity provider, at each login"
        ),
    ]
    added_at: datetime

    @classmethod
    def of(cls, member: ProjectMember) -> Self:
        return cls.model_validate(
            {
                "user": member.user.name,
                "role": member.role,
                "follows_groups": member.follows_groups,
                "added_at": member.added_at,
            }
        )


class ProjectDetail(ProjectView):
    """A project with everybody who is listed."""

    members: list[MemberView]

    @classmethod
    def with_members(cls, project: Project, members: Sequence[ProjectMember], user_id: int) -> Self:
        role = next((one.role for one in members if one.user_id == user_id), None)
        view = ProjectView.of(project, role)
        return cls(**dict(view), members=[MemberView.of(one) for one in members])


class NewProject(Part):
    """A project to create; its creator is its first admin."""

    name: Name
    visibility: Visibility = "open"


class ProjectChange(Part):
    """Who may read a project from now on."""

    visibility: Visibility


class NewMember(Part):
    """A role in a project: viewers read, members also submit and change their own, admins change everybody's and invite."""

    role: Role = "member"
