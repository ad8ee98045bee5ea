"""Webhooks: users register their own targets; the sweep sends to them (`worker.sweep.notifier`)."""

import json
from datetime import UTC, datetime

import structlog
from fastapi import APIRouter, Depends, status
from sqlalchemy.orm import Session

from api.http import (
    AuditTrail,
    Caller,
    Document,
    Id,
    Invalid,
    NotFound,
    Page,
    Secret,
    describe_body,
    get_current_user,
    lock_asking_token,
    parse,
    require_full_scope,
)
from api.schemas import DeliveryView, Listing, NewWebhook, WebhookSecretView, WebhookView
from api.services import ServicesDep
from api.settings import Settings
from store.accounts import authentication
from store.catalog import projects
from store.db import Webhook
from store.studies import studies
from store.webhooks import NewTarget, State, deliveries, targets

log = structlog.get_logger(__name__)

router = APIRouter(tags=["users"], dependencies=[Depends(get_current_user)])


@router.get("/webhooks", summary="List your own webhooks; for admins, all webhooks")
def list_webhooks(services: ServicesDep, caller: Caller) -> Listing[WebhookView]:
    with services.sessions.begin() as session:
        return Listing(items=read_webhooks(session, caller))


def read_webhooks(session: Session, caller: authentication.Caller) -> list[WebhookView]:
    """Oldest first."""
    own = None if caller.user.role == "admin" else caller.user
    rows = targets.list_webhooks(session, own)
    states = targets.read_states(session, [row.id for row in rows])
    return [_view(row, states[row.id], caller) for row in rows]


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    summary="List a webhook's messages of the last 30 days and their states, newest first",
)
def list_deliveries(
    services: ServicesDep, caller: Caller, webhook_id: Id, page: Page
) -> Listing[DeliveryView]:
    with services.sessions.begin() as session:
        row = _find(session, webhook_id, caller)
        listing = deliveries.list_deliveries(
            session, [row.id], cursor=page.cursor, limit=page.limit
        )
        items = [DeliveryView.of(one) for one in listing.items]
        return Listing(items=items, next_cursor=listing.next_cursor)


@router.post(
    "/webhooks",
    status_code=status.HTTP_201_CREATED,
    dependencies=[Depends(require_full_scope)],
    openapi_extra=describe_body(NewWebhook),
    summary="Register a webhook for yourself; the secret is shown only once",
)
def create_webhook(
    services: ServicesDep, caller: Caller, asking: Secret, trail: AuditTrail, document: Document
) -> WebhookSecretView:
    """It gets a message when a study has ended, and when a job without a study has failed. It is removed with the token
    of this request."""
    new = parse(NewWebhook, document)
    if new.is_mail:
        _ensure_deliverable(services.settings, new.url)
    with services.sessions.begin() as session:
        token = lock_asking_token(session, asking)
        row, secret = targets.create(session, caller.user, token, _read_target(session, new))
        found = targets.find(session, row.id)
        assert found is not None
        view = _view(found, State(), caller)
        # Its path may be a password.
        trail.note(
            session,
            "webhook.created",
            f"webhook {view.id}",
            study=view.study,
            project=view.project,
            format=view.format,
        )
    log.info("a webhook was created", webhook=view.id, by=caller.user.name)
    return WebhookSecretView(**view.model_dump(), secret=None if new.is_mail else secret)


@router.delete(
    "/webhooks/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[Depends(require_full_scope)],
    summary="Remove a webhook, with its messages",
)
def remove_webhook(
    services: ServicesDep, caller: Caller, trail: AuditTrail, webhook_id: Id
) -> None:
    with services.sessions.begin() as session:
        row = _find(session, webhook_id, caller)
        trail.note(session, "webhook.removed", f"webhook {row.id}", user=row.user.name)
        targets.remove(session, webhook_id)
    log.info("a webhook was removed", webhook=webhook_id, by=caller.user.name)


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[Depends(require_full_scope)],
    summary="Send a test message to a webhook",
)
def send_test(services: ServicesDep, caller: Caller, webhook_id: Id) -> WebhookView:
    """The sweep sends it within seconds; the list of webhooks says whether it has arrived."""
    with services.sessions.begin() as session:
        row = _find(session, webhook_id, caller)
        deliveries.add_test(session, row, _test_body(row))
        state = targets.read_states(session, [row.id])[row.id]
    return _view(row, state, caller)


def _read_target(session: Session, new: NewWebhook) -> NewTarget:
    if new.study is not None and studies.find(session, new.study) is None:
        raise Invalid.at("/study", f"there is no study {new.study}")
    project = projects.find(session, new.project) if new.project is not None else None
    if new.project is not None and project is None:
        raise Invalid.at("/project", f"there is no project named {new.project!r}")
    format = new.format or ("mail" if new.is_mail else "standard")
    return NewTarget(new.url, format, new.study, project.id if project else None)


def _ensure_deliverable(settings: Settings, url: str) -> None:
    """Raises Invalid where there is no mail server, or the address is of no domain that may be written to."""
    if settings.smtp_url is None:
        raise Invalid.at(
            "/url",
            "this service sends no mail: NORMLAB_SMTP_URL is not set",
            "an administrator sets NORMLAB_SMTP_URL and NORMLAB_MAIL_FROM where the API and the sweep run",
        )
    domain = url.rpartition("@")[2].lower()
    if domain not in settings.mail_domains:
        raise Invalid.at(
            "/url",
            f"mail is sent to addresses of {' and '.join(settings.mail_domains)} only, but this one is of {domain}",
            "NORMLAB_MAIL_DOMAINS, where the API runs, lists the allowed domains",
        )


def _find(session: Session, webhook_id: int, caller: authentication.Caller) -> Webhook:
    row = targets.find(session, webhook_id)
    # The answer must not reveal that another user's webhook exists.
    if row is None or (caller.user.role != "admin" and row.user_id != caller.user.id):
        raise NotFound(f"there is no webhook {webhook_id}")
    return row


def _view(row: Webhook, state: State, caller: authentication.Caller) -> WebhookView:
    is_own = row.user_id == caller.user.id and caller.scope == "all"
    return WebhookView.of(row, state, is_shown_whole=is_own)


def _test_body(row: Webhook) -> str:
    said = f"Webhook {row.id} of {row.user.name} works: Normlab can reach it."
    if row.format == "slack":
        return json.dumps({"text": said})
    if row.format == "mail":
        return json.dumps({"subject": f"Webhook {row.id} works", "text": said})
    at = datetime.now(UTC).isoformat()
    data = {"webhook": row.id, "says": said}
    return json.dumps({"type": "webhook.test", "timestamp": at, "data": data})
