"""`GET /metrics`: what Prometheus scrapes."""

import hmac
from collections.abc import Iterable
from itertools import chain
from typing import Annotated, TypeAlias

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from sqlalchemy.orm import Session, sessionmaker

from api.http import NotFound, Unauthorized
from api.monitoring.database_figures import DatabaseFigures
from api.services import ServicesDep

router = APIRouter()

# Threads of their own, as those of the health checks: a busy service is the one that is to be looked at.
_THREADS = CapacityLimiter(2)
_Credentials: TypeAlias = Annotated[
    HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
]


class Metrics:
    """The application's: what it counts itself, and what it reads when asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._database = DatabaseFigures()

    def write(self, readers: sessionmaker[Session], accepted: str) -> tuple[bytes, str]:
        """All metrics in the format that the client prefers, and the name of that format."""
        encode, media_type = choose_encoder(accepted)
        metrics = chain(self.registry.collect(), self._database.collect(readers))
        return encode(_Collected(metrics)), media_type


class _Collected:
    """As an encoder wants it."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@router.get("/metrics", include_in_schema=False)
async def read_metrics(
    request: Request, services: ServicesDep, credentials: _Credentials
) -> Response:
    """For whoever has the scrape token, which opens nothing else; it is known without the database."""
    token = services.settings.metrics_token
    if token is None:
        raise NotFound(
            "the API hands out no metrics: set NORMLAB_METRICS_TOKEN where it is started"
        )
    given = credentials.credentials if credentials is not None else ""
    if not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
        raise Unauthorized("metrics need the token that is in NORMLAB_METRICS_TOKEN")
    metrics: Metrics = request.app.state.metrics
    accepted = request.headers.get("Accept", "")
    body, media_type = await to_thread.run_sync(
        metrics.write, services.all_readers, accepted, limiter=_THREADS
    )
    return Response(body, headers={"Content-Type": media_type})
