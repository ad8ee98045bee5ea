"""The manifests for Kubernetes are valid, and run the same commands with the same settings as docker-compose.yml."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[3]
OBJECTS: list[dict[str, Any]] = [
    document
    for file in sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]
#: The pods of each workload.
PODS: dict[str, dict[str, Any]] = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]
    for one in OBJECTS
    if "template" in one.get("spec", {})
}
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
#: Servers that come from elsewhere.
OUTSIDE = {"postgres", "redis"}
#: Said otherwise than by docker compose: names and addresses of a cluster.
OWN = {
    "FORWARDED_ALLOW_IPS", "MLFLOW_SERVER_ALLOWED_HOSTS", "NORMLAB_HOST_NAME", "NORMLAB_MIRROR_METRICS",
    "NORMLAB_PUBLIC_MLFLOW_URL", "NORMLAB_PUBLIC_URL", "NORMLAB_SWEEP_METRICS", "NORMLAB_WORKER_METRICS",
}  # fmt: skip

#: Of one host alone: its ports, and credentials, which are in a secret of their own.
NOT_HERE = re.compile(r"NORMLAB_API_PORT|AWS_\w+")


def container(name: str) -> dict[str, Any]:
    one: dict[str, Any]
    (one,) = PODS[name]["containers"]
    return one


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_the_manifests_are_what_kubernetes_takes(version: str) -> None:
    for one in OBJECTS:
        kubernetes_validate.validate(one, version, strict=True)
    assert PODS.keys() == SERVICES.keys() - OUTSIDE


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_the_command_of_compose_with_its_settings(name: str) -> None:
    service = SERVICES[name]
    # After the image's entry point, which reads the secrets.
    assert container(name)["args"] == service["command"]
    assert "command" not in container(name)
    expected = {
        key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)
        for key, value in service["environment"].items()
        # None: only where somebody sets it.
        if value is not None and not NOT_HERE.fullmatch(key)
    }
    [shared] = [one["data"] for one in OBJECTS if one["kind"] == "ConfigMap"]
    own = {one["name"]: one.get("value") for one in container(name)["env"]}
    given = {**(shared if "envFrom" in container(name) else {}), **own}
    optional = {key for key, value in service["environment"].items() if value is None}
    assert given.keys() - optional == expected.keys()
    # The API's is the address of links that people follow.
    different = OWN | ({"NORMLAB_MLFLOW_URL"} if name == "api" else set())
    kept = expected.keys() - different
    assert {key: given[key] for key in kept} == {key: expected[key] for key in kept}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_the_secrets_and_volumes_of_compose_and_no_rights_of_root(name: str) -> None:
    pod, service = PODS[name], SERVICES[name]
    volumes = {one["name"]: one for one in pod["volumes"]}
    items = volumes["secrets"]["secret"]["items"]
    assert {one["key"] for one in items} == {one["path"] for one in items}
    assert {one["key"] for one in items} == set(service["secrets"])
    mounts = {one["mountPath"]: one for one in container(name)["volumeMounts"]}
    assert {one["name"] for one in mounts.values()} == volumes.keys()
    shared = {
        one.split(":")[1]
        for one in (re.sub(r"^\$\{.*?\}", "", v) for v in service.get("volumes", []))
    }
    assert {path for path in mounts if path.startswith("/srv")} == shared
    # In memory in compose.
    assert {"/tmp", "/home/normlab"} < mounts.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container(name)["resources"]["requests"].keys()
    assert "memory" in container(name)["resources"]["limits"]


def test_the_script_makes_every_secret_that_a_pod_reads() -> None:
    made = (ROOT / "deploy/make-secrets").read_text()
    keys = {
        item["key"]
        for pod in PODS.values()
        for volume in pod["volumes"]
        for item in volume.get("secret", {}).get("items", [])
    }
    assert {key for key in keys if not re.search(rf"\b(NORMLAB_)?{key.upper()}\b", made)} == set()
