"""One whole local stack for all tests of the whole path."""

import os
import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.stack import SHARED_DATA, Stack, make_installation


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    installation = make_installation(
        tmp_path_factory.mktemp("home") / "normlab",
        NORMLAB_DATA_ROOTS=os.environ.get("NORMLAB_TEST_DATA", str(SHARED_DATA)),
        NORMLAB_LEASE_SECONDS="20",
        # Other tests' jobs run nearly always: models and figures would wait for them.
        NORMLAB_EXPORT_WAIT_SECONDS="5",
    )
    home, environment = installation.home, installation.environment
    try:
        installation.normlab("up", "--detach")
        token = (home / "token").read_text().strip()
        api_url = f"http://127.0.0.1:{environment['NORMLAB_API_PORT']}/api/v1"
        mlflow_url = f"http://127.0.0.1:{environment['NORMLAB_MLFLOW_PORT']}"
        headers = {"Authorization": f"Bearer {token}"}
        with (
            httpx.Client(base_url=api_url, headers=headers, timeout=60) as api,
            httpx.Client(base_url=f"{mlflow_url}/api/2.0/mlflow", timeout=120) as mlflow,
        ):
            yield Stack(home, environment, api, mlflow, mlflow_url)
    finally:
        installation.normlab("down")
        left = installation.processes()
    assert not left, [process.cmdline() for process in left]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
