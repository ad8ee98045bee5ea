"""What people do with their tokens, admins with users, and anybody with a job's layers, in a real browser."""

import re
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

JOB: dict[str, Any] = {
    "project": "page",
    "dataset": {"name": "digits", "train_size": 300},
    "model": {"name": "mlp", "hidden": [16]},
    "norm": {"kind": "batch"},
    "training": {"epochs": 3},
    "diagnostics": {"kind": "epoch"},
}


@pytest.fixture(scope="module")
def job(stack: Stack) -> int:
    made = stack.post("/jobs", JOB)["id"]
    stack.wait(f"/jobs/{made}")
    return int(made)


def accept_dialogs(page: Page) -> None:
    page.on("dialog", lambda dialog: dialog.accept())


@pytest.mark.parametrize(("width", "scheme"), SCREENS.values(), ids=SCREENS)
def test_account_and_admin_can_be_read_by_everybody(
    browser: Browser, stack: Stack, width: int, scheme: Any
) -> None:
    size = {"width": width, "height": 900}
    for role in ("viewer", "admin"):
        token = token_of(stack, f"{role}-{width}-{scheme}", role)
        with logged_in(browser, stack, token, viewport=size, color_scheme=scheme) as page:
            page.goto(f"{address(stack)}/admin")
            if role == "admin":
                page.goto(f"{address(stack)}/admin?limits=roles/member")
                storage = page.get_by_role("region", name="Storage")
                expect(storage).to_contain_text("Decoded datasets")
            ensure_readable(page, width)


def test_a_new_token_is_shown_once_works_and_can_be_revoked(browser: Browser, stack: Stack) -> None:
    token = token_of(stack, "lia", "member")
    with logged_in(browser, stack, token) as page:
        page.goto(f"{address(stack)}/admin")
        page.get_by_label("New token for").fill("laptop")
        page.get_by_label("Expires").select_option("in 30 days")
        page.get_by_label("It may").select_option("only read")
        page.get_by_role("button", name="Create").click()
        secret = page.get_by_label("Secret")
        expect(secret).to_have_value(re.compile("^nl_"))
        headers = {"Authorization": f"Bearer {secret.input_value()}"}
        assert stack.api.get("/users/me", headers=headers).json()["name"] == "page-lia"
        assert stack.api.post("/jobs", json=JOB, headers=headers).status_code == 403
        # The page was brought up to date meanwhile, and the secret is still there; not after it was loaded anew.
        row = page.get_by_role("row").filter(has_text="laptop")
        expect(row).to_contain_text("in 30 days")
        expect(secret).to_be_visible()
        page.reload()
        expect(page.get_by_label("Secret")).not_to_be_visible()
        accept_dialogs(page)
        row.get_by_role("button", name="Revoke").click()
        expect(row).to_have_count(0)
        assert stack.api.get("/users/me", headers=headers).status_code == 401


def test_revoking_the_token_one_logged_in_with_leads_to_the_login(
    browser: Browser, stack: Stack
) -> None:
    with logged_in(browser, stack, token_of(stack, "leo", "viewer")) as page:
        page.goto(f"{address(stack)}/admin")
        accept_dialogs(page)
        row = page.get_by_role("row").filter(has_text="this browser")
        row.get_by_role("button", name="Revoke").click()
        page.wait_for_url("**/login*")


def test_an_admin_makes_a_user_a_viewer_and_takes_it_back(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "zoe", "admin")) as page:
        page.goto(f"{address(stack)}/admin")
        page.get_by_label("New user").fill("page-noa")
        page.get_by_role("button", name="Create").last.click()
        users = page.get_by_role("region", name="Users")
        row = users.get_by_role("row").filter(has_text="page-noa")
        expect(row).to_contain_text("member")
        # A token can be made for her at once.
        expect(page.get_by_label("Person").locator("option", has_text="page-noa")).to_have_count(1)
        make_viewer = row.get_by_role("button", name="Make page-noa a viewer")
        make_viewer.press("Enter")
        expect(page.locator("#done")).to_contain_text("page-noa is now a viewer")
        # Whoever uses the keyboard goes on where they were.
        assert page.evaluate("document.activeElement.tagName") == "BUTTON"
        page.locator("#done").get_by_role("button", name="Undo").click()
        expect(page.locator("#done")).to_have_text("Undone.")
        expect(row.get_by_role("button", name="Make page-noa a viewer")).to_be_visible()
        row.get_by_role("button", name="Disable").click()
        expect(row).to_contain_text("disabled")
        row.get_by_role("button", name="Enable").click()
        expect(row).to_contain_text("active")
        page.locator("#done").get_by_role("button", name="Undo").click()
        expect(row).to_contain_text("disabled")
    found = next(one for one in stack.get("/users")["items"] if one["name"] == "page-noa")
    assert (found["role"], found["disabled_at"] is None) == ("member", False)


def test_an_admin_sets_a_person_s_limits(browser: Browser, stack: Stack) -> None:
    stack.post("/users", {"name": "page-lim"})
    token = token_of(stack, "sets-limits", "admin")
    with logged_in(browser, stack, token, may_be_refused=True) as page:
        page.goto(f"{address(stack)}/admin")
        choice = page.locator("#choose-limits").get_by_label("Change the limits of")
        choice.select_option("page-lim")
        page.get_by_role("button", name="Choose").click()
        page.wait_for_url("**limits=users%2Fpage-lim#limits-of")
        form = page.locator("form[data-api*=limits]")
        form.get_by_label("Running jobs").fill("2")
        form.get_by_label("Checkpoints and files").fill("many")
        form.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("a size is bytes or like 500MB")
        form.get_by_label("Checkpoints and files").fill("20GB")
        form.get_by_role("button", name="Save").click()
        row = page.get_by_role("row").filter(has_text="page-lim").filter(has_text="20.0 GB")
        expect(row).to_be_visible()
        ensure_readable(page, 1280)
        form.get_by_label("Running jobs").fill("")
        form.get_by_role("button", name="Save").click()
        expect(row.get_by_role("cell").first).to_have_text("–")
        page.get_by_label("Weight").fill("2")
        page.locator("form[id^=weight]").get_by_role("button", name="Save").click()
        expect(page.locator("#done")).to_contain_text("The weight of page-lim is saved.")
    [limits] = [one for one in stack.get("/limits")["items"] if one["user"] == "page-lim"]
    assert (limits["running"], limits["disk_bytes"]) == (None, 20_000_000_000)
    [user] = [one for one in stack.get("/users")["items"] if one["name"] == "page-lim"]
    assert user["weight"] == 2


def test_a_member_reserves_a_device_and_releases_it(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "res", "member"), may_be_refused=True) as page:
        page.goto(address(stack))
        page.get_by_text("Reserve a device").click()
        page.get_by_label("For how long").fill("soon")
        page.get_by_label("Why").fill("a demonstration")
        page.get_by_role("button", name="Reserve").click()
        expect(page.locator(".wrong")).to_contain_text("a duration is seconds or like 90s")
        page.get_by_label("For how long").fill("10m")
        page.get_by_role("button", name="Reserve").click()
        expect(page.get_by_role("listitem")).to_contain_text("is reserved by page-res")
        ensure_readable(page, 1280)
        assert len(stack.get("/reservations")["items"]) == 1
        page.get_by_role("button", name="Release").click()
        expect(page.get_by_role("button", name="Release")).to_have_count(0)
    assert stack.get("/reservations")["items"] == []


def test_a_job_is_archived_and_brought_back(browser: Browser, stack: Stack, job: int) -> None:
    with logged_in(browser, stack, token_of(stack, "ada", "admin")) as page:
        page.goto(f"{address(stack)}/jobs/{job}")
        page.get_by_role("button", name="Archive", exact=True).click()
        expect(page.get_by_role("button", name="Unarchive")).to_be_visible()
        assert stack.get(f"/jobs/{job}")["archived"]
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("button", name="Archive", exact=True)).to_be_visible()
        page.get_by_text("Tags, note").click()
        page.get_by_label("Tags").fill("one two")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("main")).to_contain_text("#one · #two")
        assert stack.get(f"/jobs/{job}")["tags"] == ["one", "two"]
        # What a form has changed is undone as well, and the form holds what was before.
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("main")).not_to_contain_text("#one")
        expect(page.get_by_label("Tags")).to_have_value("")
    row = stack.get(f"/jobs/{job}")
    assert (row["archived"], row["tags"]) == (False, [])


def test_the_quantity_that_is_drawn_of_the_layers_is_chosen(
    browser: Browser, stack: Stack, job: int
) -> None:
    with logged_in(browser, stack, token_of(stack, "uma", "viewer")) as page:
        page.goto(f"{address(stack)}/jobs/{job}")
        layers = page.locator("#layers")
        expect(layers.locator("canvas")).to_be_visible()
        page.get_by_label("Quantity").select_option("after the norm: mean")
        # A line for each norm, and none for what has no norm.
        legend = layers.locator(".u-legend .u-series")
        expect(legend).to_have_count(2)
        values = "document.getElementById('layers').state.plot.data"
        assert page.evaluate(f"{values}[0]") == [1, 2, 3]
        assert all(isinstance(one, float | int) for one in page.evaluate(f"{values}[1]"))
        ensure_readable(page, 1280)


def test_an_address_that_does_not_exist_leads_on(browser: Browser, stack: Stack) -> None:
    with browser.new_context(viewport={"width": 390, "height": 700}) as context:
        page = context.new_page()
        answer = page.goto(f"{address(stack)}/nothing")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Not Found")
        ensure_readable(page, 390)
        expect(page.get_by_role("link", name="All studies")).to_be_visible()
