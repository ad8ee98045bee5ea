"""Projects: the list with a form to create one; and one project: who may read it, and who is listed in it, which its admins
may change."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.http import Reader
from api.routes.accounts.projects import find_project
from api.schemas import ProjectDetail, ProjectView
from api.services import ServicesDep
from api.web.render import PageRoute, render
from store.access import may_manage, members
from store.accounts import users
from store.catalog import projects
from store.db import ROLES

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: People to be invited who are offered.
MOST_USERS = 500


@router.get("/projects")
def list_projects(request: Request, services: ServicesDep, user: Reader) -> Response:
    with services.sessions.begin() as session:
        rows, roles = projects.list_projects(session), members.roles_of(session, user.id)
        counts = projects.count(session)
        unmanaged = members.list_unmanaged(session)
    return render(
        request,
        "projects.html",
        user,
        title="Projects",
        projects=[
            (ProjectView.of(row, roles.get(row.id)), counts.get(row.id, projects.Counts()))
            for row in rows
        ],
        unmanaged=unmanaged,
        may_create=user.role != "viewer",
    )


@router.get("/projects/{name}")
def show_project(request: Request, services: ServicesDep, user: Reader, name: str) -> Response:
    with services.sessions.begin() as session:
        project = find_project(session, name)
        view = ProjectDetail.with_members(project, members.list_members(session, project), user.id)
        manages = may_manage(user.role, view.role)
        is_unmanaged = name in members.list_unmanaged(session)
        people = users.list_users(session, MOST_USERS) if manages else ()
    listed = {one.user for one in view.members}
    return render(
        request,
        "project.html",
        user,
        title=f"Project {view.name}",
        project=view,
        roles=ROLES,
        may_manage=manages,
        # Of one that holds anything of others the service refuses it to all but its admins.
        may_delete=manages and (user.role == "admin" or view.owner == user.name),
        is_unmanaged=is_unmanaged,
        others=[one.name for one in people if one.name not in listed and not one.disabled_at],
    )
