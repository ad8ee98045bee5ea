"""What docker-compose.yml promises, read from the file: no engine is needed."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrations.roles import API, MLFLOW, PASSWORDS, WORKER
from normlab.stack.mlflow_server import server_command, server_environment
from worker.settings import Settings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
SECRETS = ("POSTGRES_PASSWORD", *PASSWORDS.values(), "NORMLAB_BOOTSTRAP_TOKEN")
#: Who logs in to the database, and as what.
LOGINS = {
    "migrate": "normlab", "mlflow-database": "normlab", "api": API, "worker-cpu": WORKER, "worker-gpu": WORKER,
    "sweep": WORKER, "mirror": WORKER, "mlflow": MLFLOW,
}  # fmt: skip
ONE_SHOTS = {"migrate", "mlflow-database"}


def test_every_published_port_is_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_has_no_default_and_no_value(secret: str) -> None:
    uses = re.findall(rf"\$\{{{secret}(.*?)\}}", TEXT)
    assert uses
    assert all(use.startswith(":?") for use in uses)
    assert re.search(rf"^{secret}=$", (ROOT / ".env.example").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_logs_in_with_its_own_role_and_knows_no_other_password(name: str) -> None:
    text = str(SERVICES[name].get("environment", {}))
    logins = re.findall(r"postgresql\+psycopg://(\w+):\$\{(\w+)", text)
    role = LOGINS.get(name)
    assert {login for login, _ in logins} == ({role} if role else set())
    if role in PASSWORDS:
        assert set(re.findall(r"\w+_PASSWORD", text)) == {PASSWORDS[role]}


@pytest.mark.parametrize("name", SERVICES)
def test_the_log_of_a_service_is_bounded(name: str) -> None:
    options = SERVICES[name]["logging"]["options"]
    assert options["max-size"] == "10m"
    assert int(options["max-file"]) >= 2


def test_every_optional_variable_stands_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT)) | {"NORMLAB_CPU_SLOTS", "NORMLAB_GPU_SLOTS"}
    shown = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == shown


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOTS))
def test_a_service_comes_back_after_a_crash(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_what_draws_and_exports_gives_way_to_the_workers() -> None:
    shares = {name: service.get("cpu_shares", 1024) for name, service in SERVICES.items()}
    assert shares["mirror"] < shares["sweep"] < shares["worker-cpu"] < shares["api"]


def test_mlflow_starts_as_on_a_laptop() -> None:
    expected = server_command(
        artifacts="/srv/normlab/mlartifacts",
        port=5000,
        host="0.0.0.0",
        python="python",
    )
    given = [part for argument in SERVICES["mlflow"]["command"] for part in argument.split("=", 1)]
    assert given == expected
    environment = dict(SERVICES["mlflow"]["environment"])
    assert environment.pop("MLFLOW_BACKEND_STORE_URI").endswith("@postgres:5432/mlflow")
    wanted = dict(server_environment("unused", "mlflow:5000,127.0.0.1:*,localhost:*"))
    del wanted["MLFLOW_BACKEND_STORE_URI"]
    assert environment == wanted


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


@pytest.mark.parametrize("name", [name for name in SERVICES if "healthcheck" in SERVICES[name]])
def test_a_health_check_leaves_a_slow_machine_its_time(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert seconds(check["timeout"]) >= 30
    assert seconds(check["start_period"]) >= 300
    # Also after the start: a machine that swaps for a while is no reason to restart anything.
    assert check["retries"] * (seconds(check["interval"]) + seconds(check["timeout"])) >= 240


def test_replicas_of_the_cpu_worker_share_no_name_and_no_port() -> None:
    service = SERVICES["worker-cpu"]
    host_name = service["environment"]["NORMLAB_HOST_NAME"]
    Settings(database_url="", redis_url="", storage=Path(), host_name=host_name)
    assert host_name.endswith("{n}")
    assert not {"container_name", "hostname", "ports"} & set(service)


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_a_service_that_ends_is_awaited_as_such(name: str) -> None:
    # `up --wait` fails on a container that ends, unless another service depends on its completion.
    conditions = [one.get("depends_on", {}).get(name, {}) for one in SERVICES.values()]
    assert {"condition": "service_completed_successfully"} in conditions


def test_the_api_comes_before_training_where_cores_are_scarce() -> None:
    shares = {name: service.get("cpu_shares", 1024) for name, service in SERVICES.items()}
    assert shares.pop("api") > max(shares.values())


def test_the_image_has_the_standard_library_compiled() -> None:
    # Its processes write no bytecode, and python:3.11-slim brings none.
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "PYTHONDONTWRITEBYTECODE=1" in dockerfile
    assert "compileall.compile_dir(sysconfig.get_path('stdlib')" in dockerfile


def test_only_the_gpu_profile_asks_for_a_gpu() -> None:
    asking = {name for name, service in SERVICES.items() if "deploy" in service}
    assert asking == {"worker-gpu"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]


def test_datasets_are_mounted_read_only() -> None:
    mounts = [mount for one in SERVICES.values() for mount in one.get("volumes", [])]
    data = [mount for mount in mounts if "/srv/normlab/data" in mount]
    assert data
    assert all(mount.endswith(":ro") for mount in data)


def test_the_image_gets_every_package() -> None:
    """`.dockerignore` shuts everything out that it doesn't name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert [name for name in packages if f"!{name.rstrip('*')}" not in let_in] == []
