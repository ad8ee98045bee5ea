"""Idempotency keys: a repeated creation gets the answer of the first."""

import json
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Header, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.http.body import Document
from api.http.dependencies import Reader
from api.services import Services, ServicesDep
from runtime.files import digest_of
from store.accounts import idempotency
from store.db import User

_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="makes the request idempotent: the same key and document get the same answer, and nothing is created twice",
    ),
]

_CREATED = status.HTTP_202_ACCEPTED


class Creation:
    """One request to create something, with or without a key."""

    def __init__(
        self, request: Request, services: Services, user: User, document: Any, key: str | None
    ) -> None:
        self._readers = services.readers
        self._user = user
        self._key = key
        self._path = request.url.path
        # A value that the address sets makes it another document.
        given = [request.query_params.getlist(name) for name in ("set", "fresh")]
        settings = given[0] if not given[1] else given
        self._document = [document, settings] if settings else document

    @property
    def has_key(self) -> bool:
        return bool(self._key)

    def earlier_answer(self) -> Response | None:
        """What this key was answered before; raises `KeyReused`. Spares a check, and decides nothing."""
        if not self._key:
            return None
        # Without a lock, which would be held while the document is checked. Two equal requests may both come this
        # far; the transaction that stores the key decides which one creates.
        with self._readers() as session:
            return _replay(idempotency.find(session, self._user, self._key, self._fingerprint))

    def answer(self, session: Session, make: Callable[[], BaseModel]) -> Response:
        """Makes it, or finds that it is made, in one transaction with the key."""
        # Asked again, under the lock that is now held until the commit: the key and what was created become
        # visible together, or not at all.
        if self._key:
            stored = idempotency.claim_key(session, self._user, self._key, self._fingerprint)
            if earlier := _replay(stored):
                return earlier
        made = make()
        self.remember(session, made)
        return self.respond(made)

    def remember(self, session: Session, made: BaseModel) -> None:
        """Stores the answer with the key, in the transaction that creates; raises `Overtaken` if an equal request
        was faster."""
        if self._key:
            idempotency.save(
                session,
                self._user,
                self._key,
                self._fingerprint,
                _CREATED,
                json.loads(made.model_dump_json()),
            )

    def respond(self, made: BaseModel) -> Response:
        """The answer to a creation that is committed, or will be before it is sent."""
        content = made.model_dump_json()
        return Response(content, _CREATED, media_type="application/json")

    @cached_property
    def _fingerprint(self) -> str:
        return _fingerprint(self._path, self._document)


async def get_creation(
    request: Request, services: ServicesDep, user: Reader, document: Document, key: _Key = None
) -> Creation:
    return Creation(request, services, user, document, key)


Once: TypeAlias = Annotated[Creation, Depends(get_creation)]


def _replay(stored: idempotency.StoredResponse | None) -> Response | None:
    if stored is None:
        return None
    return JSONResponse(
        stored.response, stored.status_code, headers={"Idempotent-Replayed": "true"}
    )


def _fingerprint(path: str, document: Any) -> str:
    # Sorted keys: a client that writes the same document in another order repeats its request. The path is
    # part of it, because one key must not serve two endpoints.
    text = json.dumps([path, document], sort_keys=True)
    return digest_of(text)
