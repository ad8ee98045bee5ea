"""Which of MLflow's routes people may read, and which the mirror writes: what is in neither list is refused.

Paths are compared as a whole, as the routers behind them do. A later MLflow's new routes are refused until somebody
has put them here.
"""

import re

#: Answers anybody: it says that the server takes requests, nothing else.
HEALTH = "/health"
#: Normlab's own, for the mirror (`worker.mlflow_server.erasing`).
ERASE = "/normlab/erase"

_GET = (
    "artifacts/list",
    "datasets/search",
    "datasets/{name}",
    "datasets/{name}/experiment-ids",
    "datasets/{name}/records",
    "experiments/get",
    "experiments/get-by-name",
    "experiments/search",
    "get-trace-artifact",
    "logged-models/{name}",
    "logged-models/{name}/artifacts/directories",
    "logged-models/{name}/artifacts/files",
    "metrics/get-history",
    "metrics/get-history-bulk",
    "metrics/get-history-bulk-interval",
    "model-versions/get",
    "model-versions/get-download-uri",
    "model-versions/search",
    "registered-models/alias",
    "registered-models/get",
    "registered-models/get-latest-versions",
    "registered-models/search",
    "runs/get",
    "server-info",
    "traces",
    "traces/batchGet",
    "traces/get",
    "traces/{name}",
    "traces/{name}/assessments/{name}",
    "traces/{name}/info",
    # Whether the page may count clicks, which the server's environment says: no.
    "ui-telemetry",
)
#: Searches, whose conditions stand in the body.
_POST = (
    "artifacts/presigned-download-url",
    "datasets/search",
    "experiments/search",
    "experiments/search-datasets",
    "logged-models/search",
    "registered-models/get-latest-versions",
    "runs/search",
    "traces/batchGetInfos",
    "traces/search",
)
#: Beside those of the REST interface: files, and the page.
_GET_ELSEWHERE = (
    "{api}/mlflow-artifacts/artifacts",
    "{api}/mlflow-artifacts/artifacts/{path}",
    "{api}/mlflow-artifacts/presigned/{path}",
    "/",
    "/get-artifact",
    "/model-versions/get-artifact",
    "/static-files/{path}",
    "/version",
)
#: The page reads runs with it. None of its fields writes (`tests/worker/mlflow_server/test_routes.py`).
_POST_ELSEWHERE = ("/graphql",)
#: What the mirror writes; neither webhooks nor gateways nor anything that runs programs on this host.
_MIRRORED = (
    "{api}/mlflow/(?:artifacts|experiments|logged-models|metrics|model-versions|registered-models|runs)/{path}",
    "{api}/mlflow/logged-models",
    "{api}/mlflow-artifacts/{path}",
)
_PARTS = {"api": r"/(?:ajax-)?api/\d\.\d", "name": "[^/]+", "path": ".+"}


def _compile(paths: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(path.format(**_PARTS) for path in paths), re.DOTALL)


def _in_rest(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{{api}}/mlflow/{path}" for path in paths)


_READS = {
    "GET": _compile((*_in_rest(_GET), *_GET_ELSEWHERE)),
    "POST": _compile((*_in_rest(_POST), *_POST_ELSEWHERE)),
}
_READS["HEAD"] = _READS["GET"]
_WRITES = _compile(_MIRRORED)


def is_read(method: str, path: str) -> bool:
    """Whether the request only reads what everybody who is logged in may see."""
    pattern = _READS.get(method)
    return pattern is not None and pattern.fullmatch(path) is not None


def is_mirrors(method: str, path: str) -> bool:
    """Whether the mirror may send this request."""
    return (
        is_read(method, path)
        or (method, path) == ("POST", ERASE)
        or _WRITES.fullmatch(path) is not None
    )
