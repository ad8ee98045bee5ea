"""The list of projects: what each reader sees of them, and who may create one."""

import html
import re
from collections.abc import Callable

from fastapi.testclient import TestClient

from tests.support.documents import JOB, STUDY

Clients = Callable[[str], TestClient]


def read_rows(client: TestClient) -> dict[str, list[str]]:
    """By its name the texts of a project's row, links and tags aside."""
    page = client.get("/projects")
    assert page.status_code == 200, page.text
    rows = re.findall(r'<tr id="project-\d+">(.*?)</tr>', page.text, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    texts = [[html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in cells]
    return {row[0]: row for row in texts}


def test_each_project_is_listed_with_who_reads_it_one_s_role_and_what_is_in_it(
    member: TestClient, sign_in: Clients
) -> None:
    eve = sign_in("eve:member")
    member.post("/api/v1/projects", json={"name": "lab", "visibility": "private"})
    member.put("/api/v1/projects/lab/members/eve", json={"role": "viewer"})
    study = member.post("/api/v1/studies", json={**STUDY, "project": "lab"}).json()
    jobs = sum(study["counts"].values())
    eve.post("/api/v1/jobs", json={**JOB, "project": "shelf"})

    rows = read_rows(member)

    assert list(rows) == ["lab", "shelf"]
    assert rows["lab"][1:7] == ["private", "admin", "2", "1", str(jobs), "max"]
    assert rows["shelf"][1:7] == ["open", "–", "1", "0", "1", "eve"]
    assert read_rows(eve)["lab"][2] == "viewer"
    assert list(read_rows(sign_in("bob:member"))) == ["shelf"]


def test_where_there_is_no_project_it_is_said_how_to_make_one(
    member: TestClient, viewer: TestClient
) -> None:
    for client, may_create in ((member, True), (viewer, False)):
        page = client.get("/projects").text
        assert "No projects yet." in page
        assert ('data-create="/api/v1/projects"' in page) is may_create
        assert ("Only members and admins can create projects" in page) is not may_create


def test_a_project_s_page_offers_to_delete_it_to_its_owner_and_to_admins_of_the_service(
    member: TestClient, admin: TestClient, viewer: TestClient, sign_in: Clients
) -> None:
    eve = sign_in("eve:member")
    member.post("/api/v1/projects", json={"name": "lab"})
    member.put("/api/v1/projects/lab/members/eve", json={"role": "admin"})
    button = 'data-send="DELETE /api/v1/projects/lab"'
    for client, may_delete in ((member, True), (admin, True), (eve, False), (viewer, False)):
        assert (button in client.get("/projects/lab").text) is may_delete


def test_projects_are_in_the_navigation_of_every_page(member: TestClient) -> None:
    assert '<a href="/projects">Projects</a>' in member.get("/").text
    assert '<a href="/projects" aria-current="page">' in member.get("/projects").text


def test_an_admin_sees_in_the_list_which_project_has_lost_its_admin(
    member: TestClient, admin: TestClient
) -> None:
    member.post("/api/v1/projects", json={"name": "lab", "visibility": "private"})
    assert "no active admin" not in admin.get("/projects").text
    admin.patch("/api/v1/users/max", json={"disabled": True})
    assert "no active admin" in admin.get("/projects").text
