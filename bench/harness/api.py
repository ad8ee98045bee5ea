"""The API as a process of its own, with servers of its own and without workers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from bench.harness.database import make_database
from bench.harness.stack import free_port
from normlab.stack.servers import Redis
from store.accounts import users
from store.db.engine import make_sessions


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The API without workers: its address, and the tokens of a viewer and of a member."""
    with ExitStack() as stack:
        postgres, engine = stack.enter_context(make_database(folder))
        redis = Redis(folder / "redis")
        redis.start()
        stack.callback(redis.stop)
        with make_sessions(engine).begin() as session:
            viewer = users.create_user(session, "vera", "viewer")
            member = users.create_user(session, "max", "member")
            tokens = [users.create_token(session, one, "bench")[1] for one in (viewer, member)]
        environment = {
            "NORMLAB_DATABASE_URL": postgres.url("bench"),
            "NORMLAB_REDIS_URL": redis.url,
            "NORMLAB_STORAGE": str(folder / "storage"),
            "NORMLAB_LOG_LEVEL": "ERROR",
            # What one person can ask for at most is what some sections measure.
            "NORMLAB_REQUESTS_PER_SECOND": "0",
        }
        yield stack.enter_context(_api(environment)), tokens[0], tokens[1]


@contextmanager
def _api(environment: dict[str, str]) -> Iterator[str]:
    """Its address, once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "runtime.http_server", "api.app:make_app", "--factory"]
    options = ["--port", str(port), "--log-level", "error", "--timeout-graceful-shutdown", "5"]
    process = subprocess.Popen([*command, *options], env={**os.environ, **environment})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{url}/readyz", process)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    """Until the server answers there. Raises RuntimeError if it ends before."""
    while process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(address, timeout=5, trust_env=False).is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server of {address} ended with {process.returncode}")
