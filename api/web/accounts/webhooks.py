"""Webhooks: a person's own with what became of their messages, and a form to add one; for admins also everybody else's."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import Caller
from api.routes.accounts.webhooks import read_webhooks
from api.schemas import DeliveryView, WebhookView
from api.services import ServicesDep
from api.web.render import PageRoute, render
from store.webhooks import MOST, deliveries

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: The latest messages of a person's webhooks that are listed.
MOST_MESSAGES = 25
#: So long after a message was made the page looks again and again for what becomes of it.
_LOOKED_FOR = timedelta(minutes=1)


@router.get("/webhooks")
def show_webhooks(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    study: Annotated[str, Query(max_length=20)] = "",
    project: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """`study` or `project`: what the form is filled in with."""
    with services.sessions.begin() as session:
        webhooks = read_webhooks(session, caller)
        own = [webhook for webhook in webhooks if webhook.user == caller.user.name]
        messages = _read_messages(session, own)
    settings = services.settings
    return render(
        request,
        "webhooks.html",
        caller.user,
        title="Webhooks",
        own=own,
        others=[webhook for webhook in webhooks if webhook.user != caller.user.name],
        messages=messages,
        most=MOST,
        now=datetime.now(UTC),
        is_late=any(_is_on_its_way(message) for message in messages),
        may_change=caller.scope == "all",
        study=study if study.isdecimal() else "",
        project=project,
        mail_domains=settings.mail_domains if settings.smtp_url is not None else (),
    )


def _read_messages(session: Session, webhooks: Sequence[WebhookView]) -> list[DeliveryView]:
    ids = [webhook.id for webhook in webhooks]
    listing = deliveries.list_deliveries(session, ids, limit=MOST_MESSAGES)
    return [DeliveryView.of(row) for row in listing.items]


def _is_on_its_way(message: DeliveryView) -> bool:
    is_new = datetime.now(UTC) - message.created_at < _LOOKED_FOR
    return message.state == "waiting" and message.attempts == 0 and is_new
