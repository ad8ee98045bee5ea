"""A person's own tokens and what applies to them; for admins also users, all tokens, workers, storage and the mirror."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import Administrator, Reader, Secret
from api.routes.operations import read_disk
from api.services import Services, ServicesDep
from api.web.accounts.limits import NAMES, find_row, read_rows
from api.web.render import PageRoute, render
from runtime.storage import Storage
from store.access import members
from store.accounts import audit, sessions, users
from store.db import PRIORITIES, ROLES, Token, User
from store.hosts import describe_bytes, host_views
from store.jobs import Limits, limits
from store.mlflow import mirror_problems
from trainer.spec import describe_duration

router = APIRouter(include_in_schema=False, route_class=PageRoute)

LimitsOf = Annotated[str | None, Query(alias="limits", max_length=200)]
#: Of each list, so many are shown.
MOST_TOKENS, MOST_USERS, MOST_PROBLEMS, MOST_CHANGES = 200, 500, 20, 20


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`is_own_way_in`: this browser has logged in with it."""

    token: Token
    is_expired: bool
    is_own_way_in: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """Of the storage's file system, in bytes."""

    total: int
    free: int


@router.get("/admin")
def show_admin(
    request: Request,
    services: ServicesDep,
    user: Reader,
    secret: Secret,
    limits_of: LimitsOf = None,
) -> Response:
    """`limits_of`: whose limits an admin wants to change, as `roles/member` or `users/ada`."""
    is_admin = user.role == "admin"
    with services.sessions.begin() as session:
        context = _read_account(session, user, secret)
        allowed = limits.in_force(session, user.id)
        if is_admin:
            context |= _read_service(session, context["way_in"])
            context |= _read_limits(session, context["people"], limits_of)
    return render(
        request,
        "admin.html",
        user,
        title="Admin" if is_admin else "Account",
        is_admin=is_admin,
        roles=ROLES,
        applies={**_describe_rules(services), "You": _describe_limits(allowed)},
        **context,
    )


@router.get("/admin/storage")
def show_storage(request: Request, services: ServicesDep, admin: Administrator) -> Response:
    """Its sizes, which the page asks for by itself: to add up all rows takes longer than the rest of it."""
    storage = services.settings.storage
    return render(
        request,
        "storage.html",
        admin,
        stored=services.storage_sizes.read(),
        store=str(storage) if storage.is_remote else None,
        disk=_measure_disk(storage),
    )


@router.get("/admin/disk")
def show_disk(request: Request, services: ServicesDep, admin: Administrator) -> Response:
    """Whose the files are, which the page asks for by itself, too."""
    return render(
        request,
        "disk.html",
        admin,
        owners=read_disk(services),
        days=f"{services.settings.keep_checkpoints_days:g}",
    )


def _read_account(session: Session, user: User, secret: str) -> dict[str, Any]:
    is_session = secret.startswith(sessions.PREFIX)
    way_in = sessions.find_token_id(session, secret) if is_session else None
    tokens = _make_rows(users.list_tokens(session, user, MOST_TOKENS), way_in)
    ends = next((one.token.expires_at for one in tokens if one.is_own_way_in), None)
    return {"own_tokens": tokens, "way_in": way_in, "way_in_ends": ends}


def _read_service(session: Session, way_in: int | None) -> dict[str, Any]:
    """What admins see besides."""
    tokens = users.list_tokens(session, limit=MOST_TOKENS + 1)
    devices: dict[str, list[host_views.DeviceView]] = {}
    for device in host_views.devices_view(session):
        devices.setdefault(device.host, []).append(device)
    return {
        "people": users.list_users(session, MOST_USERS),
        "unmanaged": members.list_unmanaged(session),
        "all_tokens": _make_rows(tokens[:MOST_TOKENS], way_in),
        "has_more_tokens": len(tokens) > MOST_TOKENS,
        "changes": audit.list_records(session, limit=MOST_CHANGES).items,
        "workers": host_views.workers_view(session),
        "devices": devices,
        "problems": mirror_problems.list_problems(session, MOST_PROBLEMS),
        "problem_count": mirror_problems.count(session),
    }


def _read_limits(session: Session, people: Sequence[User], key: str | None) -> dict[str, Any]:
    rows = read_rows(session, people)
    return {
        "limit_names": NAMES,
        "limit_rows": rows,
        "changed": find_row(session, rows, key),
        "priorities": PRIORITIES,
    }


def _make_rows(tokens: Sequence[Token], way_in: int | None) -> Sequence[TokenRow]:
    now = datetime.now(UTC)
    return [
        TokenRow(one, one.expires_at is not None and one.expires_at <= now, one.id == way_in)
        for one in tokens
    ]


def _describe_rules(services: Services) -> Mapping[str, str]:
    """What applies to everybody today, by what it is about."""
    settings = services.settings
    elsewhere = f"; those with {services.provider.name} after a day" if services.provider else ""
    return {
        "Viewers": "can read everything, but change only their own tokens.",
        "Members": "can submit jobs and studies, and change their own.",
        "Projects": "are open or private; a private project is visible only to the people listed on its page.",
        "Admins": "can change everyone's jobs and studies, and manage users and all tokens.",
        "Tokens": f"{settings.tokens_per_person} valid ones per person. Everyone who has a token can do what its owner can; with a read-only token, only read.",
        "Logins": f"end after {sessions.LENGTH.days} days, or with the token that was entered{elsewhere}.",
        "Documents": f"at most {_megabytes(settings.body_bytes)} as JSON, {_megabytes(settings.yaml_bytes)} as YAML.",
        "History": "each change of a job's status is recorded on its page: when, by whom and why.",
    }


def _describe_limits(allowed: Limits) -> str:
    parts = [f"may ask for a priority up to {allowed.priority}"]
    if allowed.running is not None:
        parts.append(f"may have {_counted(allowed.running, 'job')} running at once (more wait)")
    if allowed.queued is not None:
        parts.append(f"may have {_counted(allowed.queued, 'job')} waiting (more are refused)")
    if allowed.device_seconds_per_day is not None:
        parts.append(
            f"may use {describe_duration(allowed.device_seconds_per_day)} of device time per day (UTC; jobs beyond it wait)"
        )
    if allowed.timeout_seconds is not None:
        parts.append(f"may train a job for at most {describe_duration(allowed.timeout_seconds)}")
    if allowed.disk_bytes is not None:
        parts.append(f"may keep {describe_bytes(allowed.disk_bytes)} of checkpoints and files")
    return f"{', '.join(parts)}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:g} MiB"


def _measure_disk(storage: Storage) -> Disk | None:
    """None where it can't be asked."""
    try:
        usage = shutil.disk_usage(storage.root)
    except OSError:
        return None
    return Disk(usage.total, usage.free)
