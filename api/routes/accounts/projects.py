"""Projects: list, read, create, open to everybody or make private; and who is listed in them."""

import structlog
from fastapi import APIRouter, Depends, status
from sqlalchemy.orm import Session

from api.http import (
    AuditTrail,
    Document,
    Forbidden,
    NotFound,
    Reader,
    Writer,
    describe_body,
    get_current_user,
    parse,
)
from api.routes.accounts.users import find_user
from api.schemas import (
    Listing,
    NewMember,
    NewProject,
    ProjectChange,
    ProjectDetail,
    ProjectView,
)
from api.services import ServicesDep
from store.access import may_manage, members
from store.catalog import projects
from store.db import JOBS_CHANNEL, Project, User, notify

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/projects", tags=["projects"], dependencies=[Depends(get_current_user)])


@router.get("", summary="List the projects that you may read, by name")
def list_projects(services: ServicesDep, user: Reader) -> Listing[ProjectView]:
    with services.sessions.begin() as session:
        rows, roles = projects.list_projects(session), members.roles_of(session, user.id)
        return Listing(items=[ProjectView.of(row, roles.get(row.id)) for row in rows])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=describe_body(NewProject),
    summary="Create a project",
)
def create_project(
    services: ServicesDep, user: Writer, trail: AuditTrail, document: Document
) -> ProjectDetail:
    """An open one is also created when something is submitted to it."""
    new = parse(NewProject, document)
    with services.sessions.begin() as session:
        project = projects.create(session, new.name, user, new.visibility)
        trail.note(session, "project.created", project.name, visibility=new.visibility)
        view = _view(session, project, user)
    log.info("a project was created", project=view.name, visibility=view.visibility, by=user.name)
    return view


@router.get("/{name}", summary="Read a project and its members")
def read_project(services: ServicesDep, user: Reader, name: str) -> ProjectDetail:
    with services.sessions.begin() as session:
        return _view(session, find_project(session, name), user)


@router.patch(
    "/{name}",
    openapi_extra=describe_body(ProjectChange),
    summary="Make a project private, or open it to everyone",
)
def change_project(
    services: ServicesDep, user: Writer, trail: AuditTrail, name: str, document: Document
) -> ProjectDetail:
    """Whoever has jobs in a project that becomes private is listed as its member. Where somebody else has, only an
    admin of the service makes it private."""
    change = parse(ProjectChange, document)
    with services.sessions.begin() as session:
        project = _find_managed(session, name, user)
        members.set_visibility(session, project, change.visibility, user)
        trail.note(session, "project.changed", name, visibility=change.visibility)
        # Pages that are open may show too much now, or too little.
        notify(session, JOBS_CHANNEL, "")
        view = _view(session, project, user)
    log.info("a project was changed", project=name, visibility=view.visibility, by=user.name)
    return view


@router.put(
    "/{name}/members/{person}",
    openapi_extra=describe_body(NewMember),
    summary="Add a person to a project, or change their role in it; a private project keeps an admin",
)
def set_member(
    services: ServicesDep,
    user: Writer,
    trail: AuditTrail,
    name: str,
    person: str,
    document: Document,
) -> ProjectDetail:
    role = parse(NewMember, document).role
    with services.sessions.begin() as session:
        project = _find_managed(session, name, user)
        members.set_role(session, project, find_user(session, person), role)
        trail.note(session, "project.member_set", name, user=person, role=role)
        notify(session, JOBS_CHANNEL, "")
        view = _view(session, project, user)
    log.info("a member of a project was set", project=name, user=person, role=role, by=user.name)
    return view


@router.delete(
    "/{name}/members/{person}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Remove a person from a project; members may remove themselves",
)
def remove_member(
    services: ServicesDep, user: Writer, trail: AuditTrail, name: str, person: str
) -> None:
    """Their jobs stay and go on. The last admin of a private project can't be removed."""
    with services.sessions.begin() as session:
        if person == user.name:
            project = find_project(session, name)
        else:
            project = _find_managed(session, name, user)
        if not members.remove(session, project, find_user(session, person)):
            raise NotFound(f"{person} is not listed in project {name}")
        trail.note(session, "project.member_removed", name, user=person)
        notify(session, JOBS_CHANNEL, "")
    log.info("a member of a project was removed", project=name, user=person, by=user.name)


def find_project(session: Session, name: str) -> Project:
    """Raises `NotFound`."""
    project = projects.find(session, name)
    if project is None:
        raise NotFound(f"there is no project {name}")
    return project


def _find_managed(session: Session, name: str, user: User) -> Project:
    project = find_project(session, name)
    if not may_manage(user.role, members.roles_of(session, user.id).get(project.id)):
        raise Forbidden(
            f"{user.name} is no admin of project {name}: only its admins can change it and invite to it"
        )
    return project


def _view(session: Session, project: Project, user: User) -> ProjectDetail:
    return ProjectDetail.with_members(project, members.list_members(session, project), user.id)
