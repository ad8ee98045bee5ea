"""The page at `/docs` works without the internet, and asks nobody but the service."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.web import docs

TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "docs.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}


def test_the_page_loads_all_of_it_from_the_service(app: FastAPI) -> None:
    client = TestClient(app)
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    # And leads back to the pages.
    assert sorted(assets) == sorted([".", *(f"static/{name}" for name in TYPES)])
    assert "//" not in page.text
    for name, kind in TYPES.items():
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind), name
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"


def test_a_browser_is_told_to_ask_nobody_else(app: FastAPI) -> None:
    policy = TestClient(app).get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    sources = re.findall(r"(?:script|style|img|connect)-src ([^;]+)", policy)
    assert {one for group in sources for one in group.split()} == {
        "'self'", "'unsafe-inline'", "data:",
    }  # fmt: skip
    assert "script-src 'self';" in policy


@pytest.mark.parametrize(
    "path", ["/redoc", "/static/../app.py", "/static/", "/docs/oauth2-redirect"]
)
def test_nothing_else_is_served_beside_it(app: FastAPI, path: str) -> None:
    assert TestClient(app).get(path).status_code == 404


def test_an_installed_normlab_has_every_file_of_the_page() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["api"]
    names = [str(one.relative_to(docs.STATIC.parents[1])) for one in docs.STATIC.iterdir()]
    assert len(names) >= len(TYPES)
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in names)


def test_the_licence_of_what_is_vendored_lies_beside_it() -> None:
    assert "Apache License" in (docs.STATIC / "LICENSE").read_text()
    assert "swagger-ui-dist" in (docs.STATIC / "README.md").read_text()
