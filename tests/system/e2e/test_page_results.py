"""Results and comparisons in a real browser: what a person types, chooses and follows."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import (
    SCREENS,
    address,
    ensure_readable,
    log_in,
    logged_in,
    token_of,
)
from tests.support.stack import Stack

SEEDS = 2
OURS = "query=project%3Dpage-results"
BASE: dict[str, Any] = {
    "dataset": {"name": "digits", "train_size": 300},
    "model": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 1, "batch_size": 32},
}


@pytest.fixture(scope="module")
def studies(stack: Stack) -> list[int]:
    """Two studies of the same settings: none and batch, none and layer."""
    made = [
        int(
            stack.post(
                "/studies",
                {
                    "project": "page-results",
                    "name": f"none-and-{norm}",
                    "base": BASE,
                    "variants": {name: {"norm": {"kind": name}} for name in ("none", norm)},
                    "seeds": SEEDS,
                    "baseline": "none",
                },
            )["id"]
        )
        for norm in ("batch", "layer")
    ]
    for study in made:
        stack.wait(f"/studies/{study}")
    return made


@pytest.mark.parametrize(("width", "scheme"), SCREENS.values(), ids=SCREENS)
def test_results_and_comparisons_can_be_read_by_everybody(
    browser: Browser, stack: Stack, studies: list[int], width: int, scheme: Any
) -> None:
    token = token_of(stack, f"results-{width}-{scheme}", "viewer")
    one, other = studies
    with logged_in(
        browser, stack, token, viewport={"width": width, "height": 900}, color_scheme=scheme
    ) as page:
        for path in (
            f"/results?{OURS}&by=norm.kind,project,training.batch_size",
            "/compare",
            f"/compare?studies={one}&studies={other}",
        ):
            page.goto(address(stack) + path)
            ensure_readable(page, width)
        page.goto(f"{address(stack)}/results?{OURS}")
        page.get_by_text("How to ask").click()
        page.get_by_text("fields", exact=False).last.click()
        ensure_readable(page, width)


def test_a_query_is_typed_corrected_and_kept_in_the_address(
    browser: Browser, stack: Stack, studies: list[int]
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        log_in(page, stack, token_of(stack, "rita", "viewer"), "/results")
        field = page.get_by_label("Query over all jobs")
        field.fill("project=page-results and norm.knid=batch")
        field.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="did you mean norm.kind?")).to_be_visible()
        # The cursor stands where the mistake is.
        expect(field).to_be_focused()
        assert page.evaluate("document.activeElement.selectionStart") == len(
            "project=page-results and "
        )
        field.fill("project=page-results and norm.kind=batch")
        field.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(SEEDS)
        page.get_by_role("link", name="best_val_accuracy").click()
        expect(page.locator("th[aria-sort=descending]")).to_have_text("best_val_accuracy ↓")
        shared = page.url
        page.goto(shared)
        expect(page.get_by_label("Sort by")).to_have_value("-best_val_accuracy")
        expect(page.locator("tbody tr")).to_have_count(SEEDS)


def test_studies_are_chosen_in_the_list_and_stand_side_by_side(
    browser: Browser, stack: Stack, studies: list[int]
) -> None:
    one, other = studies
    with logged_in(browser, stack, token_of(stack, "remy", "viewer")) as page:
        page.get_by_label("With a job that matches").fill("project=page-results")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**query=project*")
        page.get_by_role("checkbox", name=f"(s{one})").check()
        # What is ticked stays ticked, whatever changes meanwhile.
        page.evaluate("ask()")
        expect(page.get_by_role("checkbox", name=f"(s{one})")).to_be_checked()
        page.get_by_role("checkbox", name=f"(s{other})").check()
        page.get_by_role("button", name="Compare selected").click()
        page.wait_for_url("**/compare?*")
        expect(page.get_by_role("heading", level=2).first).to_contain_text("Exploratory")
        expect(page.locator("svg.forest")).to_be_visible()
        # Of the newer study, which comes first in the list.
        expect(page.get_by_label("Compared with")).to_have_value(f"s{other} none")
        page.get_by_label("Compared with").select_option(f"s{one} none")
        page.get_by_role("button", name="Compare", exact=True).click()
        expect(page.get_by_role("columnheader", name=f"minus s{one} none")).to_be_visible()
        for format, beginning in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
            with page.expect_download() as download:
                page.get_by_role("button", name=format).click()
            assert download.value.suggested_filename == f"comparison.{format.lower()}"
            assert Path(download.value.path()).read_bytes().startswith(beginning)
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=f"s{other} layer"))
        expect(row).not_to_contain_text("no pairs")
