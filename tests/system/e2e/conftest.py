"""One whole local stack for all tests of the whole path."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.stack import SHARED_DATA, Stack, make_installation, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    installation = make_installation(
        tmp_path_factory.mktemp("home") / "normlab",
        NORMLAB_DATA_ROOTS=os.environ.get("NORMLAB_TEST_DATA", str(SHARED_DATA)),
        NORMLAB_LEASE_SECONDS="20",
        # Other tests' jobs run nearly always: models and figures would wait for them.
        NORMLAB_EXPORT_WAIT_SECONDS="5",
    )
    with running(installation) as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
