"""The service around the routes: unexpected errors, health, the catalogue, OpenAPI, and what it loads."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import jsonschema_rs
import pytest
from anyio import to_thread
from fastapi import FastAPI
from fastapi.testclient import TestClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from api.http.openapi import EXAMPLES
from api.routes import jobs as job_routes
from api.settings import Settings
from store.db.engine import make_engine, make_readers, make_sessions
from store.hosts.storage import adopt_storage
from studies.rendering import CachedRender
from tests.support.catalogue import SECTIONS as EXAMPLES_BY_SECTION
from tests.support.documents import JOB, STUDY
from tests.support.factories import make_dataset, make_worker
from tests.support.trained_study import train_all


def test_an_internal_error_is_a_problem_whose_name_is_in_the_log(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_routes, "build_job_views", lambda *_: 1 / 0)
    with capture_logs() as logs:
        answer = member.get("/api/v1/jobs")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    name = answer.json()["instance"]
    assert uuid.UUID(name.removeprefix("urn:uuid:"))
    [entry] = [entry for entry in logs if entry.get("name") == name]
    assert isinstance(entry["exc_info"], ZeroDivisionError)
    assert "division" not in answer.text


def test_without_a_database_it_says_to_come_back(
    app: FastAPI, replace: Callable[..., None], tmp_path: Path
) -> None:
    engine = make_engine(f"postgresql://nobody@/nothing?host={tmp_path}")
    sessions = make_sessions(engine)
    replace(engine=engine, sessions=sessions, readers=make_readers(sessions))
    client = TestClient(app, headers={"Authorization": "Bearer nl_x"})
    answer = client.get("/api/v1/jobs")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.headers["content-type"] == "application/problem+json"
    checks = ready.json()["checks"]
    assert [checks[name]["ok"] for name in ("database", "migrations", "redis")] == [
        False, False, True,
    ]  # fmt: skip
    assert client.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_when_all_that_it_needs_is(app: FastAPI) -> None:
    ready = TestClient(app).get("/readyz")
    assert ready.status_code == 200
    assert all(check["ok"] for check in ready.json()["checks"].values())


def test_health_is_answered_when_all_threads_are_taken(app: FastAPI) -> None:
    async def ask() -> list[int]:
        threads = to_thread.current_default_thread_limiter()
        for _ in range(int(threads.total_tokens)):
            await threads.acquire_on_behalf_of(object())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            with anyio.fail_after(30):
                return [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]

    assert anyio.run(ask) == [200, 200]


def test_without_a_redis_it_is_not_ready(
    app: FastAPI, replace: Callable[..., None], settings: Settings
) -> None:
    replace(settings=settings.model_copy(update={"redis_url": "redis+socket:///nowhere"}))
    ready = TestClient(app).get("/readyz")
    assert ready.status_code == 503
    assert not ready.json()["checks"]["redis"]["ok"]


def test_the_catalogue_says_what_a_spec_may_choose_from(viewer: TestClient) -> None:
    catalog = viewer.get("/api/v1/catalog").json()
    norms = {choice["kind"]: choice for choice in catalog["norms"]}
    assert list(norms) >= ["none", "batch", "layer", "instance", "group"]
    assert norms["group"]["papers"] == ["Wu & He 2018, arXiv 1803.08494"]
    assert any("divide" in one for one in norms["group"]["pitfalls"])
    defined = norms["group"]["layouts"]["all options"]
    assert [layout for layout, reason in defined.items() if reason is None] == [
        "N,C", "N,C,L", "N,C,H,W", "N,H,W,C",
    ]  # fmt: skip
    assert "tokens" in defined["N,L,C"]
    assert norms["lrn"]["layouts"]["across: space"]["N,C"]
    assert "groups" in norms["group"]["options"]["properties"]
    assert {choice["kind"] for choice in catalog["models"]} >= {"mlp", "cnn", "resnet20"}
    assert catalog.pop("plugins") == []
    for section, choices in catalog.items():
        assert choices, section
        assert all(choice["description"] for choice in choices), section


@pytest.mark.parametrize("section", sorted(EXAMPLES_BY_SECTION.keys() - {"datasets", "training"}))
def test_the_catalogue_has_every_entry_once(viewer: TestClient, section: str) -> None:
    kinds = [choice["kind"] for choice in viewer.get("/api/v1/catalog").json()[section]]
    # A library's model is chosen by a pattern; one of a package of plugins has no example without that package.
    named = ["library" if ":" in kind else kind for kind in kinds if not kind.startswith("plugin:")]
    assert sorted(named) == sorted({name.split("-")[0] for name in EXAMPLES_BY_SECTION[section]})


@pytest.mark.parametrize("section", ["norms", "weights", "regularizers", "early_stopping"])
def test_every_technique_has_its_pitfalls(viewer: TestClient, section: str) -> None:
    choices = viewer.get("/api/v1/catalog").json()[section]
    assert {one["kind"] for one in choices if not one["pitfalls"]} <= {"plain", "none"}


#: What nobody published, or everybody uses.
WITHOUT_PAPER = {"none", "plain", "patience", "l2"}


@pytest.mark.parametrize("section", ["norms", "weights", "regularizers", "early_stopping"])
def test_every_technique_names_its_paper(viewer: TestClient, section: str) -> None:
    choices = viewer.get("/api/v1/catalog").json()[section]
    without = {choice["kind"] for choice in choices if not choice["papers"]}
    assert without <= WITHOUT_PAPER
    for choice in choices:
        for name, option in choice["options"]["properties"].items():
            assert name in ("kind", "name") or "default" in option or "type" in option, name


@pytest.mark.parametrize(("name", "document"), [("job", JOB), ("study", STUDY)])
def test_the_schemas_accept_what_is_good_and_nothing_unknown(
    viewer: TestClient, name: str, document: dict[str, Any]
) -> None:
    schema = viewer.get(f"/api/v1/schemas/{name}").json()
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(document)
    assert not validator.is_valid({**document, "unknown": 1})


def test_openapi_is_valid_with_every_default(viewer: TestClient) -> None:
    document = viewer.get("/openapi.json").json()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_openapi_describes_every_route_with_examples_that_are_good(
    app: FastAPI, member: TestClient
) -> None:
    document = member.get("/openapi.json").json()
    text = json.dumps(document)
    defined = document["components"]["schemas"]
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= defined.keys()
    assert member.get("/docs").status_code == 200
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
    assert member.post("/api/v1/jobs", json=EXAMPLES["JobSpec"]).status_code == 202
    made = member.post("/api/v1/studies", json=EXAMPLES["StudySpec"])
    assert made.status_code == 202
    extend = f"/api/v1/studies/{made.json()['id']}/extend"
    assert member.post(extend, json=EXAMPLES["Extension"]).status_code == 202


#: Runs in a process of its own: answers each request given on standard input, then says what is loaded.
PROGRAM = """
import json, sys, time
from fastapi.testclient import TestClient
from api.app import make_app
requests = json.load(sys.stdin)
app = make_app()
failed, seen = [], set()
with TestClient(app, headers={"Authorization": f"Bearer {sys.argv[1]}"}) as client:
    while not client.get("/readyz").is_success:
        time.sleep(0.1)
    for method, path, body in requests:
        answer = client.request(method, path, json=body)
        if not answer.is_success:
            failed.append([method, path, answer.text])
heavy = [name for name in ("torch", "torchvision", "timm", "mlflow", "matplotlib", "runtime.tracing.sending") if name in sys.modules]
print(json.dumps({"failed": failed, "heavy": heavy}))
"""


def test_after_every_route_the_process_has_loaded_neither_torch_nor_mlflow(
    app: FastAPI,
    admin: TestClient,
    member: TestClient,
    sessions: sessionmaker[Session],
    settings: Settings,
) -> None:
    study = admin.post("/api/v1/studies", json=STUDY).json()["id"]
    drawing = CachedRender.of(f"s{study}", "kept", ".png", "earlier")
    drawing.keep(settings.storage, b"png")
    train_all(sessions, settings.storage.root)
    trained = admin.get(f"/api/v1/studies/{study}/jobs").json()["items"][-1]["id"]
    checkpoint = admin.get(f"/api/v1/jobs/{trained}/checkpoints").json()["items"][0]["id"]
    waiting = [admin.post("/api/v1/jobs", json=JOB).json()["id"] for _ in range(2)]
    second = admin.post("/api/v1/studies", json={**STUDY, "name": "second"}).json()["id"]
    # To be deleted.
    third = admin.post("/api/v1/studies", json={**STUDY, "name": "third"}).json()["id"]
    ended = admin.post("/api/v1/jobs", json={**JOB, "project": "old"}).json()["id"]
    for path in (f"studies/{third}", f"jobs/{ended}"):
        assert admin.post(f"/api/v1/{path}/cancel").status_code == 200
    token = admin.post("/api/v1/tokens", json={"name": "other"}).json()
    target = {"url": "https://hooks.example/1"}
    webhook = admin.post("/api/v1/webhooks", json=target).json()["id"]
    with sessions.begin() as session:
        make_dataset(session, "old")
        make_worker(session, "alpha")
        make_worker(session, "beta")
    beta = {"host": "beta", "lasts": "1h", "why": "new memory"}
    reserved = admin.post("/api/v1/reservations", json=beta).json()["id"]
    data = {"name": "new", "source": {"kind": "parquet", "path": str(settings.data_roots[0])}}
    job, own = f"/jobs/{trained}", f"/jobs/{waiting[0]}"
    steered = f"/studies/{second}"
    requests: list[tuple[str, str, Any]] = [
        *(("GET", path, None) for path in ("/jobs", "/studies", "/results", "/queue", "/workers")),
        ("GET", "/mirror", None),
        ("GET", "/leaderboard", None),
        ("GET", "/results?query=norm.kind=group&sort=-test_accuracy&columns=norm.kind,seed", None),
        ("GET", "/results/groups?by=norm.kind&metric=test_accuracy&sort=-mean", None),
        ("GET", "/results/comparison?by=norm.kind", None),
        *(("GET", f"/results/export?format={one}", None) for one in ("csv", "jsonl")),
        *(("GET", path, None) for path in ("/devices", "/catalog", "/users", "/users/me")),
        *(("GET", path, None) for path in ("/schemas/job", "/schemas/study", "/tokens")),
        *(("GET", path, None) for path in ("/usage", "/disk", "/limits", "/reservations")),
        ("GET", "/audit", None),
        ("POST", "/gc", {"dry_run": True}),
        ("PATCH", "/limits/roles/viewer", {"running": 1}),
        ("PATCH", "/limits/users/max", {"running": 1}),
        ("POST", "/reservations", {"host": "alpha", "lasts": "1h", "why": "new memory"}),
        ("DELETE", f"/reservations/{reserved}", None),
        *(("GET", path, None) for path in ("/datasets", "/datasets/digits", job)),
        *(
            ("GET", f"{job}/{part}", None)
            for part in (
                "epochs",
                "curves",
                "diagnostics",
                "diagnostics/curves",
                "logs",
                "attempts",
                "files",
            )
        ),
        *(("GET", f"{job}/{part}", None) for part in ("transitions", "checkpoints")),
        ("GET", f"{job}/files/predictions.npy", None),
        ("GET", f"{job}/checkpoints/{checkpoint}", None),
        *(("GET", f"/studies/{study}{part}", None) for part in ("", "/jobs", "/comparison")),
        *(
            ("GET", f"/studies/{study}/report?format={one}", None)
            for one in ("html", "json", "markdown")
        ),
        *(("GET", f"/studies/{study}/comparison?format={one}", None) for one in ("csv", "latex")),
        *(
            ("GET", f"/studies/{study}/figures/differences.{one}", None)
            for one in ("png", "svg", "pdf")
        ),
        ("GET", f"/studies/{study}/curves?format=svg", None),
        ("GET", f"/studies/{study}/document", None),
        ("GET", f"/drawings/{drawing.name}", None),
        *(("GET", f"/studies/{study}/{part}", None) for part in ("verdicts", "files")),
        ("GET", "/presets", None),
        ("GET", "/presets/batch-size-sensitivity", None),
        ("GET", "/presets/batch-size-sensitivity/runs", None),
        ("POST", "/presets/batch-size-sensitivity/runs", {"scale": "toy"}),
        ("POST", f"{own}/priority", {"priority": "low"}),
        ("POST", f"{steered}/priority", {"priority": "high"}),
        *(("POST", f"{own}/{verb}", None) for verb in ("pause", "resume", "cancel", "retry")),
        *(("POST", f"{steered}/{verb}", None) for verb in ("pause", "resume", "cancel")),
        ("POST", f"{steered}/retry?cancelled=true", None),
        ("POST", f"/studies/{study}/extend", {"seeds": 1}),
        ("POST", f"/studies/{study}/declarations", {"kind": "code", "why": "a comment"}),
        ("PATCH", f"/studies/{study}", {"tags": ["paper"]}),
        ("PATCH", job, {"note": "the best"}),
        ("POST", "/jobs", JOB),
        ("POST", "/studies", STUDY),
        ("POST", "/plans", STUDY),
        ("POST", "/datasets", data),
        ("GET", "/datasets/digits/pictures?images=1", None),
        ("POST", "/datasets/digits/preview", {"images": 1}),
        ("POST", "/users", {"name": "emmy"}),
        ("PATCH", "/users/emmy", {"role": "viewer"}),
        ("POST", "/projects", {"name": "thesis", "visibility": "private"}),
        *(("GET", path, None) for path in ("/projects", "/projects/thesis")),
        ("PUT", "/projects/thesis/members/emmy", {"role": "viewer"}),
        ("DELETE", "/projects/thesis/members/emmy", None),
        ("PATCH", "/projects/thesis", {"visibility": "open"}),
        ("POST", "/tokens", {"name": "third"}),
        ("GET", "/webhooks", None),
        ("POST", "/webhooks", target),
        ("POST", f"/webhooks/{webhook}/test", None),
        ("GET", f"/webhooks/{webhook}/deliveries", None),
        ("DELETE", f"/webhooks/{webhook}", None),
        ("DELETE", f"/jobs/{ended}", None),
        ("DELETE", f"/studies/{third}", None),
        ("DELETE", "/datasets/old", None),
        ("DELETE", "/projects/old", None),
        ("DELETE", f"/tokens/{token['id']}", None),
    ]
    requests = [(method, f"/api/v1{path}", body) for method, path, body in requests]
    requests += [
        ("GET", path, None)
        for path in (
            "/healthz",
            "/readyz",
            "/docs",
            "/openapi.json",
            "/",
            "/studies",
            f"/studies/{study}",
            f"/studies/{study}/sentence",
            job,
            "/presets",
            "/presets/batch-size-sensitivity",
            "/datasets",
            "/datasets/digits",
            "/datasets/digits/augmented?augmentation=flip&seed=0",
            "/admin",
            "/admin/storage",
            "/admin/disk",
            "/catalog",
            "/login",
        )
    ]
    assert uncovered(app, requests) == set()

    adopt_storage(sessions, settings.storage)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, token["secret"]],
        # The token is revoked by the last of them.
        input=json.dumps(sorted(requests, key=lambda one: one[0] == "DELETE")),
        capture_output=True,
        text=True,
        check=False,
        env=environment(settings),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"failed": [], "heavy": []}


def uncovered(app: FastAPI, requests: list[tuple[str, str, Any]]) -> set[tuple[str, str]]:
    """Operations of OpenAPI that none of these requests is for."""
    segments = [(method, path.split("?")[0].split("/")) for method, path, _ in requests]
    return {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if not any(
            method.upper() == asked and _fits(path.split("/"), given) for asked, given in segments
        )
    }


def _fits(pattern: list[str], given: list[str]) -> bool:
    return len(pattern) == len(given) and all(
        one.startswith("{") or one == other for one, other in zip(pattern, given, strict=True)
    )


def environment(settings: Settings) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "NORMLAB_DATABASE_URL": settings.database_url,
        "NORMLAB_REDIS_URL": settings.redis_url,
        "NORMLAB_STORAGE": str(settings.storage),
        "NORMLAB_DATA_ROOTS": str(settings.data_roots[0]),
        "NORMLAB_CHECK_SECONDS": "90",
        "NORMLAB_MLFLOW_URL": str(settings.mlflow_url),
    }
