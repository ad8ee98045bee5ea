"""The catalogue's page: every choice, and of each a study that can be submitted as it opens."""

import html
import re

import pytest
from fastapi.testclient import TestClient

from api.routes.catalog import build_catalog
from api.web.catalog.options import PLACES, list_sections

TEMPLATES = [one.template for some in list_sections().values() for one in some if one.template]


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_page_has_every_choice_and_says_what_to_be_careful_about(viewer: TestClient) -> None:
    # What is between backticks is shown as code.
    page = re.sub(r"<code>([^<]*)</code>(?!</h3>)", r"`\1`", read(viewer, "/catalog"))
    page = html.unescape(page)
    for section, choices in build_catalog().items():
        if section == "datasets":
            continue
        assert f'id="{section}"' in page
        for choice in choices:
            assert f"<h3><code>{choice.kind}</code></h3>" in page
            assert choice.description in page
            assert all(one in page for one in choice.pitfalls)
    assert sorted(re.findall(r'href="/submit\?catalog=([^"]+)"', page)) == sorted(TEMPLATES)
    assert {one.partition("/")[0] for one in TEMPLATES} == PLACES.keys()


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_can_be_submitted_as_it_is(member: TestClient, template: str) -> None:
    page = read(member, f"/submit?catalog={template}")
    [text] = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    headers = {"Content-Type": "application/yaml"}
    answer = member.post("/api/v1/plans", content=html.unescape(text), headers=headers)
    assert answer.status_code == 200, (answer.text, text)
    plan = answer.json()
    assert (plan["kind"], plan["variants"], plan["seeds"]) == ("study", 2, 8)
    kind = template.partition("/")[2]
    assert kind in [arm["name"] for arm in plan["arms"]]


@pytest.mark.parametrize("name", ["norms/none", "norms/x", "x/batch", "datasets/builtin"])
def test_what_has_no_template_is_not_found(member: TestClient, name: str) -> None:
    assert member.get("/submit", params={"catalog": name}).status_code == 404
