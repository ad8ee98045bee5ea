"""The page in a real browser, over a whole stack: what a person sees, presses and waits for."""

import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, expect

from tests.support.browser import (
    SCREENS,
    address,
    ensure_readable,
    log_in,
    logged_in,
    token_of,
)
from tests.support.stack import Stack
from tests.support.waiting import wait_for

#: It ends when it is cancelled, on a fast machine too.
JOB: dict[str, Any] = {
    "project": "page",
    "dataset": {"name": "digits", "train_size": 300},
    "model": {"name": "mlp", "hidden": [16]},
    "norm": {"kind": "batch"},
    "training": {"epochs": 20_000, "batch_size": 16},
}
STUDY: dict[str, Any] = {
    "project": "page",
    "name": "seen-in-a-browser",
    "base": {"dataset": JOB["dataset"], "model": JOB["model"], "training": {"epochs": 2}},
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "seeds": 2,
    "baseline": "none",
}


#: Of the curves that are drawn.
LINES = "document.querySelector('.chart').state?.plot?.series.length"
SHOWN = "document.querySelector('.chart').state.plot.series.filter((one) => one.show).length"
LAST_EPOCH = "document.querySelector('.chart').state?.plot?.data[0].at(-1) ?? 0"


@pytest.fixture(scope="module")
def study(stack: Stack) -> int:
    made = stack.post("/studies", STUDY)["id"]
    stack.wait(f"/studies/{made}")
    return int(made)


@pytest.mark.parametrize(("width", "scheme"), SCREENS.values(), ids=SCREENS)
def test_every_page_can_be_read_by_everybody(
    browser: Browser, stack: Stack, study: int, width: int, scheme: Any
) -> None:
    token = token_of(stack, f"reader-{width}-{scheme}", "viewer")
    job = stack.get(f"/studies/{study}/jobs")["items"][0]["id"]
    size = {"width": width, "height": 900}
    with logged_in(browser, stack, token, viewport=size, color_scheme=scheme) as page:
        for path in (
            "/",
            "/studies",
            f"/studies/{study}",
            f"/jobs/{job}",
            "/projects",
            "/webhooks",
        ):
            page.goto(address(stack) + path)
            if path.count("/") == 2:
                expect(page.locator(".chart canvas")).to_be_visible()
            ensure_readable(page, width)


def test_who_is_logged_in_follows_a_link_into_mlflow(
    browser: Browser, stack: Stack, study: int
) -> None:
    """To another port of the same host, with the session's cookie."""
    wait_for(lambda: stack.get(f"/studies/{study}")["mlflow_url"], "the study has a run in MLflow")
    with browser.new_context() as context:
        page = context.new_page()
        log_in(page, stack, token_of(stack, "vera", "viewer"), f"/studies/{study}")
        page.locator(f"a[href^='{stack.mlflow_url}']").first.click()
        expect(page.get_by_text(STUDY["name"]).first).to_be_visible()
        assert page.url.startswith(stack.mlflow_url)


def test_a_member_follows_a_job_and_cancels_it(browser: Browser, stack: Stack) -> None:
    token = token_of(stack, "mia", "member")
    headers = {"Authorization": f"Bearer {token}"}
    answer = stack.api.post("/jobs", json=JOB, headers=headers, params={"fresh": True})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    with logged_in(browser, stack, token) as page:
        page.goto(f"{address(stack)}/jobs/{made['id']}")
        expect(page.locator(".verdict")).to_contain_text("running")
        # Without a reload: the page hears of epochs as they end, and its curves grow.
        expect(page.locator("pre.log")).to_contain_text("epoch 2/20000")
        shown = page.evaluate(LAST_EPOCH)
        wait_for(
            lambda: page.wait_for_timeout(100) or page.evaluate(LAST_EPOCH) > shown,
            "a later epoch is drawn",
        )
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".verdict")).to_contain_text("cancelled")
        expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_a_member_creates_a_project_and_a_webhook_for_it(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "pia", "member")) as page:
        page.goto(f"{address(stack)}/projects")
        page.get_by_label("Name").fill("page-private")
        page.get_by_label("Visibility").select_option("private")
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Project page-private (private)")
        page.get_by_role("link", name="Tell me when one has ended").click()
        page.wait_for_url("**/webhooks?project=page-private")
        expect(page.get_by_label("Its name")).to_have_value("page-private")
        page.get_by_label("To", exact=True).fill("http://127.0.0.1:9/hook")
        page.get_by_role("button", name="Add").click()
        expect(page.locator("output.secret input")).to_have_value(re.compile("^whsec_"))
        # Without a reload the page says what became of it.
        page.get_by_role("button", name="Send a test message").click()
        messages = page.get_by_role("region", name="Messages")
        expect(messages.get_by_role("row")).to_have_count(2)
        expect(messages).to_contain_text("public")
        ensure_readable(page, 1280)
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove webhook").click()
        expect(page.get_by_text("You have none")).to_be_visible()


def test_a_viewer_is_offered_nothing_to_change(browser: Browser, stack: Stack, study: int) -> None:
    with logged_in(browser, stack, token_of(stack, "vic", "viewer")) as page:
        page.goto(f"{address(stack)}/studies/{study}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("seen-in-a-browser")
        assert page.get_by_role("main").get_by_role("button").count() == 0


def test_a_chart_shows_what_its_address_says_and_keeps_what_is_chosen_there(
    browser: Browser, stack: Stack, study: int
) -> None:
    with logged_in(browser, stack, token_of(stack, "kim", "viewer")) as page:
        page.goto(f"{address(stack)}/studies/{study}?metric=val_loss&x=step")
        expect(page.locator(".chart canvas")).to_be_visible()
        expect(page.get_by_label("Metric")).to_have_value("val_loss")
        # The axis, and of each variant a mean with two bounds.
        assert page.evaluate(LINES) == 7
        page.get_by_label("show seeds").check()
        wait_for(lambda: page.wait_for_timeout(100) or page.evaluate(LINES) == 11, "seeds")
        page.get_by_label("logarithmic y").check()
        assert page.url.endswith("?metric=val_loss&x=step&seeds=1&log_y=1")
        page.reload()
        wait_for(lambda: page.wait_for_timeout(100) or page.evaluate(LINES) == 11, "seeds")
        with page.expect_download() as download:
            page.locator("[aria-labelledby=curves]").get_by_role("link", name="PDF").click()
        assert download.value.suggested_filename == f"s{study}-curves.pdf"
        link = page.locator("[aria-labelledby=curves]").get_by_role("link", name="SVG")
        assert "metric=val_loss&x=step&seeds=true&format=svg" in str(link.get_attribute("href"))
        # By the keyboard, a variant is hidden with its band and its seeds.
        page.locator(".u-label", has_text="batch (n = 2)").press("Enter")
        assert page.evaluate(SHOWN) == 6
        ensure_readable(page, 1280)


def test_a_chart_is_zoomed_and_moved_by_the_keyboard(
    browser: Browser, stack: Stack, study: int
) -> None:
    with logged_in(browser, stack, token_of(stack, "kit", "viewer")) as page:
        page.goto(f"{address(stack)}/studies/{study}")
        chart = page.get_by_role("application", name="Learning curves")
        expect(chart).to_have_accessible_description(re.compile("0 shows all"))
        shown = page.locator(".chart .controls [role=status]")
        chart.focus()
        # Of the epochs 1 and 2.
        for key, said in (
            ("+", "Shown: 1.17 to 1.83."),
            ("ArrowRight", "Shown: 1.3 to 1.97."),
            ("ArrowRight", "Shown: 1.33 to 2."),
            ("-", ""),
            ("+", "Shown: 1.17 to 1.83."),
            ("0", ""),
        ):
            page.keyboard.press(key)
            expect(shown).to_have_text(said)


def test_a_session_that_was_revoked_leads_to_the_login(
    browser: Browser, stack: Stack, study: int
) -> None:
    token = token_of(stack, "eva", "admin")
    with browser.new_context() as context:
        page = context.new_page()
        log_in(page, stack, token, f"/studies/{study}")
        page.get_by_text("More seeds, tags, note").click()
        page.get_by_label("Note").fill("not to be saved")
        [parent] = [
            one
            for one in stack.get("/tokens")["items"]
            if one["user"] == "page-eva" and one["name"] == "browser"
        ]
        assert stack.api.delete(f"/tokens/{parent['id']}").status_code == 204
        # A change of the study may have led the page there already.
        with suppress(Error):
            page.evaluate("document.querySelector('form[data-api^=PATCH] button')?.click()")
        page.wait_for_url("**/login*")
    assert stack.get(f"/studies/{study}")["note"] == ""


def test_what_somebody_types_and_where_they_are_stays_while_jobs_run(
    browser: Browser, stack: Stack
) -> None:
    made = stack.post("/jobs", JOB)["id"]
    with logged_in(browser, stack, token_of(stack, "fay", "viewer")) as page:
        field = page.get_by_label("Project")
        field.fill("pag")
        page.evaluate("document.getElementById('part').isTheSame = true")
        asked = [0]
        page.on("request", lambda one: asked.append(1) if one.url.endswith("/studies") else None)
        wait_for(lambda: page.wait_for_timeout(200) or len(asked) > 2, "the list was asked for")
        expect(field).to_be_focused()
        expect(field).to_have_value("pag")
        assert page.evaluate("document.getElementById('part').isTheSame") is True
    stack.post(f"/jobs/{made}/cancel")


def test_an_open_page_goes_on_after_a_restart_of_the_api(
    browser: Browser, stack: Stack, study: int
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        log_in(page, stack, token_of(stack, "gus", "viewer"), f"/studies/{study}")
        expect(page.locator(".chart canvas")).to_be_visible()
        [server] = stack.processes("api.app:make_app")
        server.kill()
        expect(page.locator("#connection")).to_have_text("reconnecting…")
        expect(page.locator("#connection")).to_have_text("")
        made = stack.post(f"/studies/{study}/extend", {"seeds": 1})
        assert made["counts"]["queued"]
        expect(page.locator(".grid")).to_contain_text("seed 2")
