"""Who may read, submit to and change what is in a project; and sessions that show no more than that."""

from store.access import group_roles, hidden, members
from store.access.hidden import EVERYTHING, current, everything, hide_private, read_as
from store.access.members import is_readable
from store.access.rule import Access, ProjectRole, Visibility, may_manage, may_submit

__all__ = [
    "EVERYTHING",
    "Access",
    "ProjectRole",
    "Visibility",
    "current",
    "everything",
    "group_roles",
    "hidden",
    "hide_private",
    "is_readable",
    "may_manage",
    "may_submit",
    "members",
    "read_as",
]
