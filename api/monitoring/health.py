"""Liveness and readiness of the API process; both need no token.

The endpoints are async and their checks have threads of their own, so they answer even when all others are busy.
"""

from collections.abc import Callable
from http import HTTPStatus

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.http import MEDIA_TYPE
from api.schemas import View
from api.services import Services, ServicesDep
from migrations.run import is_current

router = APIRouter(tags=["health"])

_REDIS_SECONDS = 1.0
# Threads of their own: with all 40 of the shared ones waiting for checks or drawings, a service that is only
# busy would look like one that is not ready.
_THREADS = CapacityLimiter(4)


class Check(View):
    """The result of one check."""

    ok: bool
    detail: str = ""


class Readiness(View):
    """The results of all checks; a problem+json of status 503 if one fails."""

    title: str
    status: int
    detail: str
    checks: dict[str, Check]


@router.get("/healthz", summary="Liveness check")
async def read_health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", response_model=Readiness, summary="Readiness check")
async def read_readiness(services: ServicesDep) -> Response:
    checks = await to_thread.run_sync(_check_all, services, limiter=_THREADS)
    lacking = [name for name, check in checks.items() if not check.ok]
    status = HTTPStatus.SERVICE_UNAVAILABLE if lacking else HTTPStatus.OK
    readiness = Readiness(
        title=status.phrase,
        status=status,
        detail=f"not ready: {', '.join(lacking)}" if lacking else "ready",
        checks=checks,
    )
    return Response(
        readiness.model_dump_json(),
        status_code=status,
        media_type=MEDIA_TYPE if lacking else "application/json",
        headers={"Retry-After": "2"} if lacking else None,
    )


def _check_all(services: Services) -> dict[str, Check]:
    return {name: check(services) for name, check in _CHECKS.items()}


def _check_database(services: Services) -> Check:
    try:
        with services.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return Check(ok=False, detail=type(error).__name__)
    return Check(ok=True)


def _check_migrations(services: Services) -> Check:
    try:
        with services.engine.connect() as connection:
            current = is_current(connection)
    except SQLAlchemyError as error:
        return Check(ok=False, detail=type(error).__name__)
    return Check(ok=current, detail="" if current else "the database schema is not up to date")


def _check_redis(services: Services) -> Check:
    # A sixth of what it takes to import this process; Celery imports it with the first wake-up anyway.
    from redis import Redis, RedisError

    address = services.settings.redis_url.replace("redis+socket://", "unix://")
    limits = {"socket_timeout": _REDIS_SECONDS, "socket_connect_timeout": _REDIS_SECONDS}
    try:
        with Redis.from_url(address, **limits) as redis:
            redis.ping()
    except RedisError as error:
        return Check(ok=False, detail=type(error).__name__)
    return Check(ok=True)


def _check_storage(services: Services) -> Check:
    problem = services.storage.find_problem()
    return Check(ok=problem is None, detail=problem or "")


def _check_checker(services: Services) -> Check:
    ready = services.checker.is_ready
    return Check(ok=ready, detail="" if ready else "the spec checker is starting")


_CHECKS: dict[str, Callable[[Services], Check]] = {
    "database": _check_database,
    "migrations": _check_migrations,
    "redis": _check_redis,
    "storage": _check_storage,
    "checker": _check_checker,
}
