"""Presets and datasets in a real browser: what a person reads, runs and registers there."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import (
    SCREENS,
    address,
    ensure_readable,
    logged_in,
    token_of,
)
from tests.support.stack import Stack
from tests.support.waiting import wait_for

NAME = "weight-decay-with-norm"
ALL_DRAWN = "document.images.length && [...document.images].every((one) => one.naturalWidth > 0)"


@pytest.fixture(scope="module")
def run(stack: Stack) -> int:
    """A judged run of the preset."""
    made = int(stack.post(f"/presets/{NAME}/runs", {"scale": "toy"})["id"])
    stack.wait(f"/studies/{made}")
    wait_for(lambda: stack.items(f"/studies/{made}/files"), "the run is judged")
    return made


def wait_for_pictures(page: Page) -> None:
    """All are drawn; they come when they are scrolled to."""
    for picture in page.locator("img").all():
        picture.scroll_into_view_if_needed()
    wait_for(
        lambda: page.wait_for_timeout(100) or page.evaluate(ALL_DRAWN), "the pictures are drawn"
    )


@pytest.mark.parametrize(("width", "scheme"), SCREENS.values(), ids=SCREENS)
def test_presets_and_datasets_can_be_read_by_everybody(
    browser: Browser, stack: Stack, run: int, width: int, scheme: Any
) -> None:
    token = token_of(stack, f"catalog-{width}-{scheme}", "member")
    size = {"width": width, "height": 900}
    with logged_in(browser, stack, token, viewport=size, color_scheme=scheme) as page:
        for path in ("/catalog", "/presets", f"/presets/{NAME}", "/datasets", "/datasets/digits"):
            page.goto(address(stack) + path)
            if path.count("/") == 2:
                wait_for_pictures(page)
            ensure_readable(page, width)


def test_a_member_runs_a_preset_and_lands_on_its_study(browser: Browser, stack: Stack) -> None:
    with logged_in(
        browser, stack, token_of(stack, "runs-presets", "member"), may_be_refused=True
    ) as page:
        page.get_by_role("link", name="Presets", exact=True).click()
        page.get_by_role("link", name="What does weight decay do in front of a norm?").click()
        page.get_by_role("radio", name="toy on digits").check()
        page.get_by_label("Number of seeds").fill("1001")
        # What the browser lets through, the service refuses beside its field.
        page.evaluate("document.querySelector('form.create').noValidate = true")
        page.get_by_role("button", name="Run").click()
        expect(page.locator(".wrong")).to_contain_text("1000")
        expect(page.get_by_label("Number of seeds")).to_be_focused()
        page.get_by_label("Number of seeds").fill("")
        page.get_by_role("button", name="Run").click()
        page.wait_for_url("**/studies/*")
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"{NAME} · toy · digits")
        # Once its jobs have ended, its own figure comes without a reload.
        picture = page.get_by_role("img", name="What does weight decay do in front of a norm?")
        expect(picture).to_be_attached()
        wait_for_pictures(page)
        with page.expect_download() as download:
            page.get_by_role("figure").get_by_role("link", name="PDF").click()
        assert download.value.suggested_filename.endswith("-figure.pdf")
        assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")


def test_a_figure_comes_once_it_is_drawn(browser: Browser, stack: Stack, run: int) -> None:
    with logged_in(browser, stack, token_of(stack, "waits", "viewer")) as page:
        answers = [
            {"status": 202, "headers": {"Retry-After": "1"}, "json": {"detail": "later"}}
        ] * 2

        def answer(route: Any) -> None:
            route.fulfill(**answers.pop()) if answers else route.continue_()

        page.route("**/figures/figure.png*", answer)
        page.goto(f"{address(stack)}/studies/{run}")
        picture = page.locator("img[data-drawn]")
        picture.scroll_into_view_if_needed()
        wait_for_pictures(page)
        assert answers == []
        expect(picture).to_be_visible()


def test_a_report_opens_once_it_is_drawn(browser: Browser, stack: Stack, run: int) -> None:
    with logged_in(browser, stack, token_of(stack, "reads", "viewer")) as page:
        answers = [{"status": 202, "headers": {"Retry-After": "1"}, "body": "later"}] * 2

        def answer(route: Any) -> None:
            route.fulfill(**answers.pop()) if answers else route.continue_()

        page.route("**/report?format=html", answer)
        page.goto(f"{address(stack)}/studies/{run}")
        page.get_by_role("link", name="the whole report").click()
        expect(page.locator("#done")).to_have_text(re.compile("being drawn, and opens when it is"))
        page.wait_for_url("**/report?format=html")
        assert answers == []
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_contain_text(NAME)


def test_a_picture_is_shown_as_it_came_and_not_asked_for_again(
    browser: Browser, stack: Stack
) -> None:
    with logged_in(browser, stack, token_of(stack, "once", "viewer")) as page:
        statuses = [202, 200]
        asked: list[str] = []

        def answer(route: Any) -> None:
            asked.append(route.request.url)
            if statuses.pop(0) == 202:
                route.fulfill(status=202, headers={"Retry-After": "1"}, json={"detail": "later"})
            else:
                route.continue_()

        # Nothing is kept of a dataset's pictures: each request draws one.
        page.route("**/digits/pictures*", answer)
        page.goto(f"{address(stack)}/datasets/digits")
        wait_for_pictures(page)
        with page.expect_response("**/datasets/digits"):
            page.evaluate("refresh()")
        # Not `wait_for_function`: from its second look on it is evaluated in the page, which forbids that.
        while page.evaluate("isAsking"):
            page.wait_for_timeout(20)
        expect(page.locator("img").first).to_have_attribute("src", re.compile("^data:image/png"))
        assert len(asked) == 2


def test_a_member_registers_a_dataset_and_sees_what_it_became(
    browser: Browser, stack: Stack
) -> None:
    with logged_in(
        browser, stack, token_of(stack, "registers", "member"), may_be_refused=True
    ) as page:
        page.goto(f"{address(stack)}/datasets")
        page.get_by_label("Name", exact=True).fill("page drawn")
        page.get_by_label("From").select_option("a formula")
        expect(page.get_by_label("Repository")).to_be_hidden()
        page.get_by_label("Examples", exact=True).fill("5")
        page.get_by_role("button", name="Register").click()
        expect(page.locator(".wrong")).to_contain_text("20")
        page.get_by_label("Examples", exact=True).fill("200")
        page.get_by_role("button", name="Register").click()
        page.wait_for_url("**/datasets/page%20drawn")
        expect(page.locator("dl")).to_contain_text("200")
        page.goto(f"{address(stack)}/datasets")
        page.get_by_label("Name", exact=True).fill("digits")
        page.get_by_label("From").select_option("a formula")
        page.get_by_role("button", name="Register").click()
        expect(page.locator(".wrong")).to_contain_text("digits")
        expect(page.get_by_label("Name", exact=True)).to_be_focused()


def test_another_batch_is_another_address(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "augments", "viewer")) as page:
        page.goto(f"{address(stack)}/datasets/digits")
        wait_for_pictures(page)
        page.get_by_label("rotate").uncheck()
        page.get_by_role("button", name="Show").click()
        page.wait_for_url(
            "**/datasets/digits?augmentation=shift&augmentation=contrast&seed=0#augmented"
        )
        page.get_by_role("link", name="Another batch").click()
        page.wait_for_url("**seed=1#augmented")
        wait_for_pictures(page)
        page.go_back()
        page.wait_for_url("**seed=0#augmented")
        expect(page.get_by_label("rotate")).not_to_be_checked()
