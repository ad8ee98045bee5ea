"""What MLflow answers to somebody who may not read all experiments: as if those of private projects were not there.

A request that names such an experiment, or a run, model or file of it, is refused before MLflow sees it; of what comes
back, whatever belongs to one is left out. Requests of people who may read everything never come here.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.mlflow_server import routes
from worker.mlflow_server.named import FILES, ID, Named, scalars

#: Of a request with a search's conditions: far more than any has.
MOST_BYTES = 4 * 2**20
_MOST_KNOWN = 100_000
#: What is longer is looked through in a thread, so that other requests don't wait for it.
_SHORT_BYTES = 64 * 2**10
_GONE = object()
_MISSING = JSONResponse(
    {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "There is nothing here that you may read.",
    },
    404,
    {"Cache-Control": "no-store"},
)


class Hiding:
    """`experiments_of`: by its id the experiment of each of these runs and logged models that there is."""

    def __init__(self, app: ASGIApp, experiments_of: Any = None) -> None:
        self._app = app
        self._experiments_of = experiments_of or read_experiments
        #: A run never changes its experiment.
        self._known: dict[str, str] = {}

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, hidden: Collection[str]
    ) -> None:
        """`hidden`: the experiments that the caller may not read."""
        body = await _read_body(scope, receive)
        if body is None or await self._names_hidden(scope, body, hidden):
            await _MISSING(scope, receive, send)
            return
        is_file = is_download(scope["path"])
        # What is compressed could not be looked through.
        headers = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        caught = _Caught(send, passes=is_file)
        await self._app({**scope, "headers": headers}, _replay(body), caught)
        if caught.start is not None:
            await self._send_rest(caught, scope, receive, send, hidden)

    async def _names_hidden(self, scope: Scope, body: bytes, hidden: Collection[str]) -> bool:
        query = scope["query_string"].decode(errors="replace")
        named = await _call(len(body), Named.of, scope["path"], query, body)
        if named is None:
            return True
        if not named.experiments.isdisjoint(hidden):
            return True
        experiments = await self._find(named.ids)
        return any(experiments.get(owner_id) in hidden for owner_id in named.ids)

    async def _send_rest(
        self, caught: "_Caught", scope: Scope, receive: Receive, send: Send, hidden: Collection[str]
    ) -> None:
        start, content = caught.start, b"".join(caught.parts)
        assert start is not None
        document, ids = await _call(len(content), _read_answer, content)
        experiments = await self._find(ids)
        shown = await _call(len(content), _write_answer, document, hidden, experiments)
        if shown is None:
            await _MISSING(scope, receive, send)
            return
        content = shown or content
        headers = [header for header in start["headers"] if header[0].lower() != b"content-length"]
        length = (b"content-length", str(len(content)).encode())
        await send({**start, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": content})

    async def _find(self, ids: Collection[str]) -> Mapping[str, str]:
        unknown = [owner_id for owner_id in ids if owner_id not in self._known]
        if unknown:
            experiments = await asyncio.to_thread(self._experiments_of, unknown)
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known |= experiments
        return {owner_id: self._known[owner_id] for owner_id in ids if owner_id in self._known}


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """None of one that is too long, of which no more is read."""
    body = bytearray()
    async for part in Request(scope, receive).stream():
        body += part
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


async def _call(length: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result; `length`: of what it looks through, in bytes."""
    if length <= _SHORT_BYTES:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _read_answer(content: bytes) -> tuple[Any, Collection[str]]:
    """The document, `_GONE` if it is none, and the ids in it."""
    try:
        document = json.loads(content)
    except ValueError:
        return _GONE, ()
    return document, set(_ids_in(document))


def _write_answer(
    document: Any, hidden: Collection[str], experiments: Mapping[str, str]
) -> bytes | None:
    """What is shown of the document: None if it is nothing, no bytes if it is all."""
    shown = leave_out(document, hidden, experiments)
    if shown is _GONE:
        return None
    return b"" if shown == document else json.dumps(shown).encode()


def is_download(path: str) -> bool:
    """Whether the answer is a file, of which the request said whose it is."""
    files = FILES.match(path)
    if files is not None:
        return bool(path[files.end() :])
    # Pages and scripts of MLflow's are the same for everybody.
    return path in ("/", "/get-artifact", "/version", routes.HEALTH) or path.startswith(
        "/static-files/"
    )


def leave_out(value: Any, hidden: Collection[str], experiments: Mapping[str, str]) -> Any:
    """The answer without what belongs to hidden experiments, or `_GONE`; `experiments`: of the runs and models in it."""
    match value:
        case dict():
            if _is_hidden(value, hidden, experiments):
                return _GONE
            shown = {key: leave_out(inside, hidden, experiments) for key, inside in value.items()}
            return _GONE if any(inside is _GONE for inside in shown.values()) else shown
        case list():
            items = [leave_out(inside, hidden, experiments) for inside in value]
            return [inside for inside in items if inside is not _GONE]
        case _:
            return value


def _is_hidden(
    value: Mapping[str, Any], hidden: Collection[str], experiments: Mapping[str, str]
) -> bool:
    for key, inside in value.items():
        name = key.replace("_", "").lower()
        if name in ("experimentid", "experimentids"):
            if any(text in hidden for text in scalars(inside)):
                return True
        elif name in _ID_KEYS and any(experiments.get(text) in hidden for text in scalars(inside)):
            return True
    return False


#: A list of files has the folders of an experiment's runs as paths.
_ID_KEYS = ("runid", "runids", "runuuid", "sourcerunid", "modelid", "path")


def _ids_in(value: Any) -> Iterator[str]:
    for text in scalars(value):
        if ID.fullmatch(text):
            yield text


def read_experiments(ids: Collection[str]) -> Mapping[str, str]:
    """From MLflow's own database."""
    from mlflow.server.handlers import _get_tracking_store
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel, SqlRun

    store: Any = _get_tracking_store()
    experiments: dict[str, str] = {}
    with store.ManagedSessionMaker() as session:
        for key, table in ((SqlRun.run_uuid, SqlRun), (SqlLoggedModel.model_id, SqlLoggedModel)):
            rows = session.query(key, table.experiment_id).filter(key.in_(list(ids)))
            experiments |= {owner_id: str(experiment) for owner_id, experiment in rows}
    return experiments


def _replay(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            # The client waits for the answer; that it goes away meanwhile changes nothing.
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class _Caught:
    """Takes what the application sends; JSON is kept (`start`, `parts`), unless all `passes`."""

    def __init__(self, send: Send, *, passes: bool) -> None:
        self._send = send
        self._passes = passes
        self.start: Message | None = None
        self.parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
            # A refusal of MLflow's own says nothing of what is in an experiment.
            if not self._passes and any(b"json" in kind for kind in kinds):
                self.start = message
        if self.start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
