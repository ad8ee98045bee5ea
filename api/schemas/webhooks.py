"""Schemas of webhooks: targets for messages about studies that have ended, URLs or addresses for mail."""

from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from api.schemas.jobs import View
from runtime.settings import MAIL_ADDRESS
from store.db import Delivery, Webhook
from store.webhooks import State
from trainer.spec import Name, Part

_LONGEST_URL = 2000
MAIL = "mailto:"


def _ensure_target(url: str) -> str:
    if url.startswith(MAIL):
        return _ensure_address(url)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must have printable ASCII characters only, and no spaces")
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"must be a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not has_place:
        raise ValueError("must be a URL with a host, like https://chat.example/hooks/1")
    if "@" in parts.netloc:
        raise ValueError("must have no user name and no password: messages are signed instead")
    if "#" in url:
        raise ValueError("must have no fragment (#…): it would not be sent")
    return url


def _ensure_address(url: str) -> str:
    if not MAIL_ADDRESS.fullmatch(url.removeprefix(MAIL)):
        raise ValueError("must be mailto: and one address, like mailto:ada@lab.example")
    return url


# Checked by a function, whose words people understand; documented by the pattern.
Target = Annotated[
    str,
    AfterValidator(_ensure_target),
    Field(min_length=10, max_length=_LONGEST_URL, json_schema_extra={"format": "uri"}),
]
WebhookFormat = Annotated[
    Literal["standard", "slack", "mail"],
    Field(
        description="`standard`: JSON with all that is known; `slack`: a text, as chats take it; `mail`: to an address"
    ),
]


class NewWebhook(Part):
    """A target; without `study` and `project` it gets messages about everything that its user owns."""

    url: Annotated[
        Target,
        Field(description="http or https, redirects are not followed; or mailto: and an address"),
    ]
    study: Annotated[
        int | None,
        Field(
            strict=True, ge=1, le=2**63 - 1, description="about this study only, whoever owns it"
        ),
    ] = None
    project: Annotated[
        Name | None, Field(description="about this project only, whoever owns its studies")
    ] = None
    format: Annotated[
        WebhookFormat | None, Field(description="default: `mail` to an address, else `standard`")
    ] = None

    @model_validator(mode="after")
    def _fits_its_format(self) -> Self:
        if self.format is not None and (self.format == "mail") != self.is_mail:
            raise ValueError("the format `mail` is that of mailto: addresses, and theirs alone")
        return self

    @property
    def is_mail(self) -> bool:
        return self.url.startswith(MAIL)

    @model_validator(mode="after")
    def _concerns_one(self) -> Self:
        if self.study is not None and self.project is not None:
            raise ValueError("a webhook concerns a study or a project, not both")
        return self


class WebhookView(View):
    """A target, and what became of its messages; the secret is shown only once, when it is created."""

    id: int
    user: str
    url: Annotated[
        str, Field(description="whole only for its own person, and not for a token that only reads")
    ]
    format: WebhookFormat
    study: int | None
    project: str | None
    created_at: datetime
    expires_at: Annotated[
        datetime | None, Field(description="it gets no messages afterwards: its token has expired")
    ]
    waiting: Annotated[int, Field(description="messages that have not arrived yet")]
    next_attempt_at: datetime | None
    delivered_at: Annotated[datetime | None, Field(description="when a message arrived last")]
    given_up: Annotated[
        int, Field(description="messages of the last 30 days that were given up, after three days")
    ]
    attempts: Annotated[int, Field(description="at all messages of the last 30 days")]
    failure: Annotated[
        str | None, Field(description="why the latest of them that has not arrived did not")
    ]

    @classmethod
    def of(cls, row: Webhook, state: State, *, is_shown_whole: bool) -> Self:
        return cls(
            id=row.id,
            user=row.user.name,
            url=row.url if is_shown_whole else _shorten(row.url),
            format=row.format,
            study=row.study_id,
            project=row.project.name if row.project else None,
            created_at=row.created_at,
            expires_at=row.expires_at,
            waiting=state.waiting,
            next_attempt_at=state.next_at,
            delivered_at=state.delivered_at,
            given_up=state.given_up,
            attempts=state.attempts,
            failure=state.failure,
        )


class DeliveryView(View):
    """A message for a webhook, and what became of it. It is kept for 30 days."""

    message_id: Annotated[
        str, Field(description="in each attempt the same: the header `webhook-id`")
    ]
    webhook: int
    study: Annotated[int | None, Field(description="whose end it tells")]
    job: Annotated[
        int | None, Field(description="that has failed; neither this nor a study: it was a test")
    ]
    state: Literal["waiting", "delivered", "given_up"]
    created_at: datetime
    attempts: int
    next_attempt_at: Annotated[datetime | None, Field(description="null: there is none any more")]
    delivered_at: datetime | None
    given_up_at: datetime | None
    failure: Annotated[str | None, Field(description="why the last attempt failed")]

    @classmethod
    def of(cls, row: Delivery) -> Self:
        state: Literal["waiting", "delivered", "given_up"] = "waiting"
        if row.delivered_at is not None:
            state = "delivered"
        elif row.given_up_at is not None:
            state = "given_up"
        return cls(
            message_id=row.message_id,
            webhook=row.webhook_id,
            study=row.study_id,
            job=row.job_id,
            state=state,
            created_at=row.created_at,
            attempts=row.attempts,
            next_attempt_at=row.next_at if state == "waiting" else None,
            delivered_at=row.delivered_at,
            given_up_at=row.given_up_at,
            failure=row.error,
        )


class WebhookSecretView(WebhookView):
    """A new webhook with the secret that its messages are signed with, which cannot be read again; mail has none."""

    secret: str | None


def _shorten(url: str) -> str:
    # The path of a chat's webhook is a password: who knows it can write there.
    if url.startswith(MAIL):
        return f"{MAIL}…@{url.rpartition('@')[2]}"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…"
