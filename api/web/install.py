"""All pages and their assets, added to the application."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles

from api.web import (
    docs,
    error_pages,
    events,
    jobs,
    login,
    now,
    studies,
    submit,
)
from api.web.accounts import admin, projects, webhooks
from api.web.catalog import datasets, options, presets
from api.web.docs import STATIC
from api.web.results import compare, listing

_ROUTERS = (
    docs,
    login,
    now,
    studies,
    listing,
    compare,
    jobs,
    projects,
    submit,
    presets,
    options,
    datasets,
    webhooks,
    admin,
    events,
)


class _Assets(StaticFiles):
    """A browser may keep them, and asks whether they have changed."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        # Of the file as it is and of the file compressed: not the same bytes, but the same content.
        response.headers["ETag"] = f"W/{response.headers['ETag']}"
        return response


def install(app: FastAPI) -> None:
    """After `api.http.error_responses.install`, whose answers get pages beside them."""
    for module in _ROUTERS:
        app.include_router(module.router)
    app.mount("/static", _Assets(directory=STATIC), name="static")
    error_pages.install(app)
