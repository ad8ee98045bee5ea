"""One whole local stack for all tests of the whole path."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from normlab.accounts import socket_folder
from tests.support.collector import ENDPOINT
from tests.support.plugin_packages import build_wheel, pip_install
from tests.support.receiver import Receiver, receiving
from tests.support.stack import SHARED_DATA, Stack, make_installation, running


@pytest.fixture(scope="session")
def collector() -> Iterator[Receiver]:
    """Of the stack's traces."""
    with receiving() as collector:
        yield collector


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Receiver) -> Iterator[Stack]:
    """Below a closed folder, on a long path with a space."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    before = rights(closed)
    packages = tmp_path_factory.mktemp("packages")
    pip_install(build_wheel(packages), packages / "site")
    installation = make_installation(
        closed / ("a long path " * 10).strip() / "home",
        NORMLAB_DATA_ROOTS=os.environ.get("NORMLAB_TEST_DATA", str(SHARED_DATA)),
        NORMLAB_LEASE_SECONDS="20",
        # What is drawn for MLflow waits for idle slots; in the midst of other tests' jobs, not for ever.
        NORMLAB_EXPORT_WAIT_SECONDS="60",
        NORMLAB_LOG_MEGABYTES="0.5",
        # A package of plugins, beside whatever else Python finds.
        NORMLAB_PLUGINS="lab-nets",
        PYTHONPATH=os.pathsep.join(
            [str(packages / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        **{ENDPOINT: collector.url},
    )
    with running(installation) as stack:
        yield stack
    assert not socket_folder(installation.home).exists()
    assert rights(closed) == before


def rights(path: Path) -> list[tuple[int, int]]:
    """Of all folders around it: a stack changes none of them."""
    return [(found.st_mode, found.st_uid) for found in (one.stat() for one in path.parents)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
