"""The page to submit from, in a real browser: write, be told, see the plan, submit, and follow what was submitted."""

import re
from collections.abc import Sequence
from html import unescape
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import (
    SCREENS,
    address,
    ensure_readable,
    log_in,
    logged_in,
    token_of,
)
from tests.support.stack import Stack

JOB = """\
project: page
dataset: {name: digits, train_size: 300}
model: {name: mlp, hidden: [16]}
norm: {kind: batch}
training: {epochs: 2}
"""

NORMS = ["none", "batch", "layer", "instance", "group"]
#: A document with the cursor at ¦, and options that are offered there; those behind ... are not.
COMPLETIONS: list[tuple[str, list[Any]]] = [
    ("¦", ["variants", "base", "model", "norm"]),
    ("variants: {}\n¦", ["base", "seeds", ..., "variants", "norm"]),
    ("model: {name: cnn}\n¦", ["norm", "training", ..., "variants", "model"]),
    ("base:\n  ¦\nvariants:\n", ["dataset", "norm", ..., "seed", "project", "seeds"]),
    ("base:\n  norm: ¦", ["{kind: batch}", "{kind: group}"]),
    ("base:\n  norm: {kind: ¦}\n", NORMS),
    ("base:\n  norm:\n    kind: gr¦\n    groups: 4\n", ["group", ..., "batch"]),
    ("base: {optimizer: {kind: ¦, momentum: 0.9}}", ["sgd", "adam"]),
    ("base:\n  norm: {kind: group, ¦}\n", ["groups", "eps", ..., "kind", "momentum"]),
    ("variants:\n  a: {norm: {kind: ¦\n  b: {norm: {kind: none}}\n", NORMS),
    ("base:\n  optimizer: {kind: sgd, nesterov: ¦}", ["true", "false"]),
    ("base:\n  dataset: {name: ¦}", ["digits"]),
    ("metric: ¦", ["test_accuracy", "best_val_loss"]),
    ("base:\n  regularization:\n  - kind: dropout\n    ¦", ["p", ..., "kind", "value"]),
    ("base:\n  regularization:\n  - ¦", ["{kind: dropout}", "kind"]),
    ("base:\n  training: {steps: 100, ¦}", ["eval_every", ..., "epochs"]),
    ("base:\n  evaluations: [{outputs: [grid, ¦]}]", ["filters", "weights"]),
    ("matrix:\n  ¦", ["training.batch_size", "norm.groups"]),
    ("base: {optimizer: {kind: adam}}\nmatrix: {¦}", ["optimizer.lr", ..., "optimizer.nesterov"]),
    ("matrix:\n  norm.kind: [none, ¦]", NORMS),
    ("matrix:\n  norm: [{kind: group, ¦}]", ["groups", ..., "momentum"]),
    ("search:\n  ¦", ["space", "trials", "seeds", "sampler", ..., "norm.groups"]),
    ("search:\n  space:\n    ¦", ["training.batch_size", "norm.groups"]),
    ("search: {space: {optimizer.lr: {kind: float, ¦}}}", ["low", "high", "log", ..., "values"]),
    ("search: {sampler: {kind: ¦}}", ["tpe", "quasi_random"]),
    ("variants: {none: {}, mine: {}}\nbaseline: ¦", ["none", "mine"]),
    ("variants: {none: {}, mine: {}}\ninclude:\n  - variant: ¦", ["none", "mine"]),
    ("claims:\n- name: x\n  statistic: {kind: curve, ¦}", ["column", "take", ..., "value"]),
    ('{"base": {"norm": {"kind": ¦}}}', NORMS),
    ("description: |\n  text: ¦\n", []),
    ("description: |\n  text\nb¦", ["base"]),
    ("seeds: 8  # how ¦", []),
    ("base:\n  norm:¦", []),
]


#: So long after it was brought up to date a list of completions takes no key: 75 ms, of a machine that has time.
READY_MILLISECONDS = 2000


def write(page: Page, text: str) -> None:
    """Over all that stands in the editor."""
    page.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)


def say(page: Page) -> Locator:
    return page.locator("#checked")


@pytest.mark.parametrize(("width", "scheme"), SCREENS.values(), ids=SCREENS)
def test_the_page_can_be_read_by_everybody(
    browser: Browser, stack: Stack, width: int, scheme: Any
) -> None:
    token = token_of(stack, f"writer-{width}-{scheme}", "member")
    size = {"width": width, "height": 900}
    with logged_in(browser, stack, token, viewport=size, color_scheme=scheme) as page:
        page.goto(f"{address(stack)}/submit?template=demo")
        expect(say(page)).to_have_text("A valid study")
        for summary in ("Start from a template", "Defaults used", "Variants"):
            page.get_by_text(summary, exact=True).click()
        ensure_readable(page, width)
        write(page, JOB.replace("batch", "bacth") + "seeds: 2\n")
        expect(say(page)).to_have_text("2 problems")
        ensure_readable(page, width)
        page.keyboard.type("no")
        expect(page.get_by_role("option").first).to_be_visible()
        ensure_readable(page, width)


def test_a_member_submits_the_demo_and_sees_it_answer(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "dan", "member")) as page:
        page.get_by_role("link", name="Submit", exact=True).click()
        page.get_by_text("Start from a template").click()
        page.get_by_role("link", name="The demo").click()
        expect(say(page)).to_have_text("A valid study")
        expect(page.locator("#outcome")).to_contain_text("32 (4 variants × 8 seeds)")
        expect(page.locator("#outcome")).to_contain_text("9,216 at most")
        expect(page.locator("#outcome")).to_contain_text("A verdict is possible: 8 seeds")
        # The same in a sixtieth of the time.
        change(page, "epochs: 16", "epochs: 1")
        expect(page.locator("#outcome")).to_contain_text("576 at most")
        change(page, "seeds: 8", "seeds: 2")
        expect(page.locator("#outcome")).to_contain_text("8 (4 variants × 2 seeds)")
        page.get_by_role("button", name="Submit study").click()
        page.wait_for_url(re.compile(r"/studies/\d+$"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("sigmoids-and-norms")
        # Without a reload.
        page.evaluate("document.body.isTheSame = true")
        expect(page.locator(".grid .succeeded").first).to_be_visible()
        made = int(page.url.rpartition("/")[2])
        stack.wait(f"/studies/{made}")
        verdict = stack.get(f"/studies/{made}/comparison")["verdict"]
        expect(page.locator("#answer")).to_have_text(verdict["sentence"])
        assert page.evaluate("document.body.isTheSame") is True
        # The whole report is one click away: it opens once its figures are drawn.
        page.get_by_role("link", name="the whole report").click()
        page.wait_for_url("**/report?format=html")
        report = stack.api.get(f"/studies/{made}/report", params={"format": "html"})
        assert report.status_code == 200
        assert verdict["sentence"] in unescape(report.text)
        page.go_back()
        # And again, changed.
        page.get_by_role("link", name="Run again with changes").click()
        expect(page.locator("#outcome")).to_contain_text("trains the same")
        expect(page.locator("#outcome")).to_contain_text("8 of 8 jobs: trained before")
        expect(page.locator("#outcome")).to_contain_text("nothing is left to train")
        change(page, "epochs: 1", "epochs: 2")
        expect(page.locator("#outcome")).to_contain_text(
            "of device time (estimated from finished jobs"
        )


def change(page: Page, old: str, new: str) -> None:
    """In what the editor holds."""
    script = "([from, to]) => editor.replace(editor.text().replace(from, to))"
    page.evaluate(script, [old, new])


def test_a_slip_is_marked_at_its_line_and_told_with_what_would_be_right(
    browser: Browser, stack: Stack
) -> None:
    with logged_in(browser, stack, token_of(stack, "sue", "member")) as page:
        page.goto(f"{address(stack)}/submit?template=job")
        write(page, JOB.replace("batch", "bacth"))
        expect(say(page)).to_have_text("1 problem")
        expect(page.locator(".cm-lintRange-error")).to_have_text("kind: bacth")
        expect(page.locator(".cm-lint-marker-error")).to_have_count(1)
        expect(page.locator(".problems")).to_contain_text("did you mean 'batch'?")
        assert page.get_by_role("button", name="Submit job").count() == 0
        # The link leads to the place; what is typed there replaces the slip.
        page.get_by_role("link", name="Line 4").click()
        for _ in "kind: bacth":
            page.keyboard.press("Shift+ArrowRight")
        page.keyboard.insert_text("kind: batch")
        expect(say(page)).to_have_text("A valid job")
        expect(page.locator(".cm-lintRange-error")).to_have_count(0)
        page.get_by_role("button", name="Submit job").click()
        page.wait_for_url(re.compile(r"/jobs/\d+$"))
        # What was sent is no draft any more.
        page.goto(f"{address(stack)}/submit?template=job")
        expect(page.get_by_text("What you wrote before")).to_be_hidden()


def test_the_editor_completes_keys_and_kinds(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "cat", "viewer")) as page:
        page.goto(f"{address(stack)}/submit")
        write(page, "base:\n  ")
        page.keyboard.type("no")
        expect(page.get_by_role("option")).to_contain_text(["norm"])
        # So long it takes no key that was meant for the text.
        page.wait_for_timeout(READY_MILLISECONDS)
        page.keyboard.press("Tab")
        page.keyboard.type("{kind: gr")
        option = page.get_by_role("option", selected=True)
        expect(option).to_have_text("group")
        # What it is, beside it.
        expect(page.locator(".cm-completionInfo")).to_contain_text("Wu & He 2018")
        page.wait_for_timeout(READY_MILLISECONDS)
        page.keyboard.press("Enter")
        expect(page.get_by_role("textbox")).to_contain_text("norm: {kind: group}")


def test_what_is_offered_is_what_may_stand_there(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "cleo", "viewer")) as page:
        page.goto(f"{address(stack)}/submit")
        page.evaluate("loadSchemas()")
        wrong = {}
        for text, expected in COMPLETIONS:
            offered = complete(page, text)
            border = expected.index(...) if ... in expected else len(expected)
            missing = set(expected[:border]) - set(offered)
            too_many = set(expected[border + 1 :]) & set(offered)
            if missing or too_many or (not expected and offered):
                wrong[text] = (missing, too_many, offered)
        assert wrong == {}


def complete(page: Page, text: str) -> Sequence[str]:
    """The options at the cursor, as typing what is there would narrow them."""
    cursor = text.index("¦")
    script = "([text, at]) => completionsAt(schemaReader, ['digits'], text, at)"
    found = page.evaluate(script, [text.replace("¦", ""), cursor])
    if found is None:
        return []
    return [one["label"] for one in found["options"] if found["word"] in one["label"]]


def test_what_somebody_wrote_survives_a_reload_until_they_start_over(
    browser: Browser, stack: Stack
) -> None:
    with logged_in(browser, stack, token_of(stack, "rae", "member")) as page:
        page.goto(f"{address(stack)}/submit?template=job")
        write(page, JOB)
        page.goto(f"{address(stack)}/studies")
        page.go_back()
        page.reload()
        expect(page.get_by_role("textbox")).to_contain_text("train_size: 300")
        expect(say(page)).to_have_text("A valid job")
        page.get_by_role("button", name="Start over").click()
        expect(page.get_by_role("textbox")).to_contain_text("A job: one training")
        page.reload()
        expect(page.get_by_role("textbox")).to_contain_text("A job: one training")


def test_a_second_try_after_a_lost_answer_submits_nothing_twice(
    browser: Browser, stack: Stack
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        log_in(page, stack, token_of(stack, "ida", "member"), "/submit?template=job")
        write(page, JOB)
        lost = []

        def lose(route: Any) -> None:
            lost.append(route.fetch().json()["id"])
            route.abort()

        page.route("**/api/v1/jobs", lose, times=1)
        page.get_by_role("button", name="Submit job").click()
        expect(page.get_by_role("alert")).to_contain_text("Try again")
        # The key outlives the page.
        page.reload()
        page.get_by_role("button", name="Submit job").click()
        page.wait_for_url(re.compile(r"/jobs/\d+$"))
        assert [int(page.url.rpartition("/")[2])] == lost


def test_a_viewer_sees_the_plan_and_has_no_button(browser: Browser, stack: Stack) -> None:
    with logged_in(browser, stack, token_of(stack, "val", "viewer")) as page:
        page.goto(f"{address(stack)}/submit")
        expect(say(page)).to_have_text("A valid study")
        expect(page.get_by_role("main")).to_contain_text("You are a viewer")
        assert page.get_by_role("main").get_by_role("button").count() == 0


def test_without_scripts_there_is_the_document(browser: Browser, stack: Stack) -> None:
    token = token_of(stack, "nos", "viewer")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        log_in(page, stack, token, "/submit?template=demo")
        expect(page.get_by_label("Study or job, in YAML")).to_contain_text("sigmoids-and-norms")
