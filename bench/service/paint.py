"""Pages in a browser: when each is first painted, with nothing in the browser's cache."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness.figures import Figure, Section, at_most
from bench.harness.stack import Service, make_stack
from bench.harness.turns import take_turns

STUDY = {
    "version": 1,
    "project": "bench",
    "name": "painted",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [32]},
        "training": {"epochs": 2},
    },
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "seeds": 8,
    "baseline": "none",
}
MOST_MILLISECONDS = 1000
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def measure_paint(folder: Path, *, rounds: int) -> Section:
    """Of a stack with one study that has ended; the service has drawn each page once before."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("no Chromium: apt-get install chromium")
    with (
        make_stack(folder / "home", NORMLAB_CPU_SLOTS="2").running() as service,
        sync_playwright() as playwright,
    ):
        pages = _paths(service)
        with playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser:
            session = _log_in(browser, service)

            def paint(path: str) -> float:
                with browser.new_context(storage_state=session) as context:
                    page = context.new_page()
                    page.goto(_address(service) + path)
                    page.wait_for_function(f"{_PAINT} > 0")
                    return float(page.evaluate(_PAINT))

            for path in pages.values():
                paint(path)
            turns = take_turns(
                {name: lambda path=path: paint(path) for name, path in pages.items()},  # type: ignore[misc]
                rounds,
            )
    figures = [
        Figure(f"{name}: first contentful paint", median(times), "ms", at_most(MOST_MILLISECONDS))
        for name, times in turns.items()
    ]
    return Section("Pages in Chromium, with an empty cache", figures, turns)


def _paths(service: Service) -> Mapping[str, str]:
    study = service.post("studies", STUDY)["id"]
    if (row := service.wait(f"studies/{study}", 0.5))["status"] != "succeeded":
        raise RuntimeError(f"the study ended as {row['status']}")
    job = service.jobs_of(study)[0]["id"]
    return {
        "now": "/",
        "studies": "/studies",
        "a study": f"/studies/{study}",
        "a job": f"/jobs/{job}",
        "results": "/results",
        "submit": "/submit",
        "presets": "/presets",
        "datasets": "/datasets",
        "admin": "/admin",
    }


def _address(service: Service) -> str:
    return str(service.api.base_url.copy_with(path="")).rstrip("/")


def _log_in(browser: Any, service: Service) -> Any:
    """The state of a browser that has logged in, without a cache."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{_address(service)}/login")
        token = service.api.headers["Authorization"].removeprefix("Bearer ")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{_address(service)}/")
        return context.storage_state()
