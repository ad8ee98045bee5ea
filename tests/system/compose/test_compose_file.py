"""What docker-compose.yml promises, read from the file: no engine is needed."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from migrations.roles import ACCESS, API, MLFLOW, PASSWORDS, WORKER
from normlab.stack.mlflow_server import server_command, server_environment
from worker.settings import Settings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
CADDY = (ROOT / "deploy/caddy.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS = (
    "POSTGRES_PASSWORD",
    *PASSWORDS.values(),
    "NORMLAB_BOOTSTRAP_TOKEN",
    "NORMLAB_MLFLOW_TOKEN",
    "NORMLAB_METRICS_TOKEN",
    "NORMLAB_OIDC_CLIENT_SECRET",
    "NORMLAB_SMTP_PASSWORD",
)
#: Who logs in to a database, and as what: MLflow to its own, and to ours.
LOGINS = {
    "migrate": {"normlab"}, "mlflow-database": {"normlab"}, "api": {API}, "worker-cpu": {WORKER},
    "worker-gpu": {WORKER}, "sweep": {WORKER}, "mirror": {WORKER}, "mlflow": {MLFLOW, ACCESS},
}  # fmt: skip
ONE_SHOTS = {"migrate", "mlflow-database"}
#: What `deploy/make-secrets` writes last; as many secrets as it says are there then.
MARK = f"made-by-deploy-make-secrets-{len(SECRETS)}"


def test_every_published_port_is_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_comes_from_its_file_alone(secret: str) -> None:
    name = secret.removeprefix("NORMLAB_").lower()
    assert set(re.findall(rf"{secret}(?!_FILE)\b[^@]*", TEXT)) <= {f"{secret}}}"}
    assert set(re.findall(rf"{secret}_FILE: (\S+)", TEXT)) == {f"/run/secrets/{name}"}
    assert secret not in (ROOT / ".env.example").read_text()


def test_the_script_makes_every_secret_of_the_file_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=as-before\n")
    for _ in range(2):
        subprocess.run([ROOT / "deploy/make-secrets"], cwd=tmp_path, check=True)
        made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    # docker compose would make a variable of any other line.
    assert re.fullmatch("#.*\n", made.pop(MARK))
    assert made.keys() == COMPOSE["secrets"].keys()
    assert made.pop("postgres_password") == "as-before\n"
    assert made.pop("bootstrap_token").startswith("nl_")
    assert all(re.fullmatch("[0-9a-f]{48}\n", value) for value in made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_script_lets_services_read_a_secret_that_somebody_wrote(tmp_path: Path) -> None:
    secret = tmp_path / "secrets/smtp_password"
    secret.parent.mkdir()
    secret.write_text("of the mail server\n")
    secret.chmod(0o600)
    subprocess.run([ROOT / "deploy/make-secrets"], cwd=tmp_path, check=True)
    assert secret.read_text() == "of the mail server\n"
    assert secret.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"postgres", "redis"}))
def test_without_all_secrets_nothing_is_started_or_stopped(name: str) -> None:
    # A missing file of `secrets` is noticed in the midst of `up`, when services are replaced already.
    assert SERVICES[name]["env_file"] == [f"${{NORMLAB_SECRETS:-./secrets}}/{MARK}"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_secrets_that_it_reads(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    files = {value for key, value in environment.items() if key.endswith("_FILE")}
    assert files == {f"/run/secrets/{secret}" for secret in SERVICES[name].get("secrets", [])}
    # Where the variable is read, the file is known.
    wanted = set(re.findall(r"\{([A-Z_]+)\}", str(environment)))
    assert {f"{variable}_FILE" for variable in wanted} <= environment.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_logs_in_with_its_own_role_and_knows_no_other_password(name: str) -> None:
    text = str(SERVICES[name].get("environment", {}))
    logins = re.findall(r"postgresql\+psycopg://(\w+):\{(\w+)\}", text)
    roles = LOGINS.get(name, set())
    assert {login for login, _ in logins} == roles
    if roles & PASSWORDS.keys():
        passwords = {PASSWORDS[role] for role in roles}
        assert set(re.findall(r"(\w+_DATABASE_PASSWORD)(?:_FILE)?\b", text)) == passwords
        assert "POSTGRES_PASSWORD" not in text


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_of_root_and_writes_into_volumes_and_memory_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # PostgreSQL's entry point needs to become its user; no other service adds any.
    assert "cap_add" not in service or name == "postgres"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"postgres", "redis"}))
def test_the_home_in_memory_belongs_to_the_user_of_the_image(name: str) -> None:
    # Docker gives it the mode of the image's folder, whatever `mode` says; the owner is what it is told.
    user = re.search(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user
    assert f"/home/normlab:exec,uid={user[1]},mode=700" in SERVICES[name]["tmpfs"]


def test_postgres_keeps_its_data_in_the_volume_whatever_its_image_thinks() -> None:
    service = SERVICES["postgres"]
    assert service["volumes"] == [f"pgdata:{service['environment']['PGDATA']}"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOTS))
def test_the_memory_of_a_service_can_be_limited(name: str) -> None:
    assert re.fullmatch(r"\$\{NORMLAB_[A-Z]+_MEMORY:-\w+\}", SERVICES[name]["mem_limit"])


def test_mlflow_and_the_mirror_alone_know_what_the_mirror_writes_with() -> None:
    knowing = {name for name in SERVICES if "mlflow_token" in SERVICES[name].get("secrets", [])}
    assert knowing == {"mlflow", "mirror"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_log_of_a_service_is_bounded(name: str) -> None:
    options = SERVICES[name]["logging"]["options"]
    assert options["max-size"] == "10m"
    assert int(options["max-file"]) >= 2


def test_every_optional_variable_stands_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT + CADDY))
    used |= {"NORMLAB_CPU_SLOTS", "NORMLAB_GPU_SLOTS", "COMPOSE_FILE"}
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
    options = [part for option in SERVICES["mlflow"]["command"] for part in option.split("=", 1)]
    assert options == expected
    environment = dict(SERVICES["mlflow"]["environment"])
    assert environment.pop("MLFLOW_BACKEND_STORE_URI").endswith("@postgres:5432/mlflow")
    assert environment.pop("NORMLAB_DATABASE_URL").endswith("@postgres:5432/normlab")
    wanted = server_environment(
        "", access_url="", mirror_token="", allowed_hosts="mlflow:5000,127.0.0.1:*,localhost:*"
    )
    behind_a_proxy = {"NORMLAB_PUBLIC_MLFLOW_URL", "FORWARDED_ALLOW_IPS"}
    assert behind_a_proxy <= environment.keys()
    environment = {name: environment[name] for name in environment.keys() - behind_a_proxy}
    given = {name: value for name, value in environment.items() if not name.endswith("_FILE")}
    assert given == {name: value for name, value in wanted.items() if value}


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


@pytest.mark.parametrize(
    ("said", "link"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"NORMLAB_API_PORT": "8123"}, "http://127.0.0.1:8123"),
        (
            {"NORMLAB_API_PORT": "8123", "NORMLAB_PUBLIC_URL": "https://normlab.example/"},
            "https://normlab.example",
        ),
    ],
)
def test_links_in_messages_lead_to_the_published_port_or_to_what_is_said(
    said: dict[str, str], link: str
) -> None:
    environment = SERVICES["sweep"]["environment"]
    # Not one default inside another: docker-compose 1 reads `${A:-${B:-c}}` as something else.
    values = {
        name: re.sub(r"\$\{(\w+):-([^{}$]*)\}", lambda match: said.get(match[1]) or match[2], text)
        for name in ("NORMLAB_PUBLIC_URL", "NORMLAB_API_PORT")
        for text in [environment[name]]
    }
    settings = Settings(
        database_url="",
        redis_url="",
        storage=Path(),
        public_url=values["NORMLAB_PUBLIC_URL"],
        api_port=int(values["NORMLAB_API_PORT"]),
    )
    assert settings.address_in_links == link


def test_the_api_comes_before_training_where_cores_are_scarce() -> None:
    shares = {name: service.get("cpu_shares", 1024) for name, service in SERVICES.items()}
    assert shares.pop("api") > max(shares.values())


def test_the_image_has_the_standard_library_compiled() -> None:
    # Its processes write no bytecode, and python:3.11-slim brings none.
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "PYTHONDONTWRITEBYTECODE=1" in dockerfile
    assert "compileall.compile_dir(sysconfig.get_path('stdlib')" in dockerfile


def test_other_builds_of_the_packages_are_held_to_the_versions_of_the_lock() -> None:
    command = re.search(r"sed -n '.*' image.txt", (ROOT / "Dockerfile").read_text())
    assert command
    said = subprocess.check_output(["sh", "-c", command[0]], cwd=ROOT / "locks", text=True)
    locked = (ROOT / "locks/image.txt").read_text()
    versions = {str(Requirement(line)).partition(";")[0] for line in said.splitlines()}
    assert versions == set(re.findall(r"^[\w.-]+==[\w.]+", locked, re.MULTILINE))


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
