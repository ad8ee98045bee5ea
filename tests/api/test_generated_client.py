"""A client that openapi-python-client makes has every operation, and submits, waits and compares."""

import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from tests.support.documents import JOB, study
from tests.support.trained_study import train_all

PACKAGE = "normlab_generated"


@pytest.fixture
def generated(
    member: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ModuleType, dict[str, Any]]]:
    """The package, which takes a process of some seconds, and the document that it was made from."""
    document = member.get("/openapi.json").json()
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    places = ["--path", tmp_path / "openapi.json", "--output-path", tmp_path / PACKAGE]
    # As generated it has `1and`, of which Python warns; whoever uses the generator formats what it wrote.
    ruff = Path(sys.executable).with_name("ruff")
    (tmp_path / "config.yaml").write_text(f"post_hooks: ['{ruff} format --no-cache .']\n")
    subprocess.run(
        [*command, *places, "--config", tmp_path / "config.yaml"], check=True, capture_output=True
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(PACKAGE), document
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_a_generated_client_has_every_operation_and_submits_waits_and_compares(
    generated: tuple[ModuleType, dict[str, Any]],
    address: str,
    member: TestClient,
    sessions: sessionmaker[Session],
    storage: Path,
) -> None:
    package, document = generated
    operations = {
        (operation["tags"][0], re.sub(r"[._]+", "_", operation["operationId"]))
        for path in document["paths"].values()
        for operation in path.values()
    }
    folder = Path(str(package.__file__)).parent / "api"
    assert {(one.parent.name, one.stem) for one in folder.glob("*/[a-z]*.py")} == operations

    models = importlib.import_module(f"{PACKAGE}.models")
    token = member.headers["authorization"].removeprefix("Bearer ")
    with package.AuthenticatedClient(base_url=address, token=token) as client:

        def call(name: str, *arguments: Any, **options: Any) -> Any:
            """The answer of the one operation whose name begins so."""
            [(tag, operation)] = [one for one in operations if one[1].startswith(name)]
            module = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
            return module.sync(*arguments, client=client, **options)

        job, spec = models.JobSpec.from_dict(JOB), models.StudySpec.from_dict(study(seeds=8))
        assert call("make_plan", body=job).count == 1
        assert call("make_plan", body=spec).count == 16
        assert call("submit_job", body=job).status == "queued"

        submitted = call("submit_study", body=spec)
        train_all(sessions, storage)
        while call("read_one_api_v1_studies_study_id_get", submitted.id).status != "succeeded":
            time.sleep(0.1)
        compared = call("compare", submitted.id)
        assert compared.metric == "test_accuracy"
        assert [one.variant for one in compared.variants] == ["none", "group"]
        assert all(one.mean > 0.9 for one in compared.variants)

        # What is wrong comes as the problem that it is.
        wrong = models.JobSpec.from_dict({**JOB, "seed": -1})
        assert call("submit_job", body=wrong).errors[0].pointer == "/seed"
