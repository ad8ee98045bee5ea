"""Pages of people: their tokens and webhooks, projects with who is listed in them, and the service's administration."""

from api.web.accounts import admin, projects, webhooks

__all__ = ["admin", "projects", "webhooks"]
