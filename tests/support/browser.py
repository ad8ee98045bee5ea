"""A browser over a whole stack: logged in as somebody, and failing where it complains or asks another site."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS

#: Of whatever is expected of a page: its own limit of 5 s is too short for a busy machine.
MILLISECONDS = 1000 * PATIENCE_SECONDS
expect.set_options(timeout=MILLISECONDS)
#: What is cut off depends on the width alone, and contrast on the colours: two of the four pairs show both.
SCREENS = {"desktop": (1280, "light"), "phone": (390, "dark")}


def address(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.environment['NORMLAB_API_PORT']}"


def token_of(stack: Stack, name: str, role: str) -> str:
    """Of a new user, of a name that no other test takes: all share one stack."""
    name = f"page-{name}"
    stack.post("/users", {"name": name, "role": role})
    secret: str = stack.post("/tokens", {"name": "browser", "user": name})["secret"]
    return secret


def log_in(page: Page, stack: Stack, token: str, path: str) -> None:
    """By the page at this path, which leads to the login and back."""
    page.set_default_timeout(MILLISECONDS)
    page.goto(address(stack) + path)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(address(stack) + path)


@contextmanager
def logged_in(
    browser: Browser, stack: Stack, token: str, *, may_be_refused: bool = False, **options: Any
) -> Iterator[Page]:
    """A page of its own; fails if the browser complained, or asked another site. `may_be_refused`: the service may
    answer that something is wrong with what it was sent."""
    complaints: list[str] = []
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.on(
            "console",
            lambda one: complaints.append(one.text) if one.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda one: None if one.url.startswith(address(stack)) else complaints.append(one.url),
        )
        log_in(page, stack, token, "/studies")
        yield page
    refusal = "the server responded with a status of 4" if may_be_refused else None
    unexpected = [one for one in complaints if refusal is None or refusal not in one]
    assert unexpected == [], unexpected


def ensure_readable(page: Page, width: int) -> None:
    """By everybody: axe finds nothing serious, and nothing is cut off, since what is wider scrolls inside the page."""
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], (page.url, serious)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
