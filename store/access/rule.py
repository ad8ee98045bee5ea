"""The rule: who may read, submit to and change what is in a project.

A role in the service bounds all others: a viewer writes nothing, an admin may do everything. In an open project everybody
reads, and members of the service submit and change what is their own. In a private one only those who are listed read
(viewer), submit and change their own (member), or change everybody's (admin). Of either kind the project's admins, if
they are members of the service, say who is listed and who may read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Visibility: TypeAlias = Literal["open", "private"]
#: Somebody's role in a project.
ProjectRole: TypeAlias = Literal["admin", "member", "viewer"]


@dataclass(frozen=True, slots=True)
class Access:
    """Of one person: their role in the service, and in each private project (None: they are not listed).

    What a request was authenticated with; `store.access.members` has what is in the database now.
    """

    user_id: int
    role: str
    private: Mapping[int, str | None]

    @property
    def hidden(self) -> frozenset[int]:
        """The projects that do not exist for this person."""
        if not self.private or self.role == "admin":
            return frozenset()
        return frozenset(
            project for project, project_role in self.private.items() if project_role is None
        )

    def may_control(self, *, is_own: bool, project_id: int | None) -> bool:
        """Whether a job or study of this project is theirs to change; None: it is in no project."""
        if self.role != "member":
            return self.role == "admin"
        if project_id is None or project_id not in self.private:
            return is_own
        project_role = self.private[project_id]
        return project_role == "admin" or (project_role == "member" and is_own)


def may_submit(role: str, visibility: str, project_role: str | None) -> bool:
    """`role`: in the service; `project_role`: in the project."""
    if role != "member":
        return role == "admin"
    return visibility == "open" or project_role in ("admin", "member")


def may_manage(role: str, project_role: str | None) -> bool:
    """Whether this person says who is listed in the project, and who may read it."""
    return role == "admin" or (role == "member" and project_role == "admin")
