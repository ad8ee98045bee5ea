"""Tokens from the command line: what becomes of those that were made with one that is revoked."""

from collections.abc import Iterator

import pytest

from normlab.cli.users import Children, create, revoke
from normlab.errors import NormlabError
from tests.normlab.client.test_transport import Script, serve

LISTED = {
    "items": [
        {"id": 2, "name": "laptop", "user": "ada", "parent_id": 1},
        {"id": 1, "name": "bootstrap", "user": "ada", "parent_id": None},
    ],
    "next_cursor": None,
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """Of the service that the commands use; it is there when they look."""
    script = Script()
    script.say(200, {})
    with serve(script) as url:
        monkeypatch.setenv("NORMLAB_URL", url)
        monkeypatch.setenv("NORMLAB_TOKEN", "nl_secret")
        yield script


def test_a_token_with_which_others_were_made_is_revoked_only_with_a_choice(script: Script) -> None:
    script.answers.clear()
    script.say(200, LISTED)
    with pytest.raises(NormlabError, match=r"created with token 1: 2 \(laptop, ada\).*--children"):
        revoke(1)
    assert [method for method, *_ in script.seen] == ["GET"]


@pytest.mark.parametrize("children", [*Children])
def test_the_choice_is_sent(script: Script, children: Children) -> None:
    script.say(204, b"")
    revoke(1, children)
    assert script.seen[-1][:2] == ("DELETE", f"/api/v1/tokens/1?children={children.value}")


def test_a_token_that_made_no_other_needs_no_choice(script: Script) -> None:
    script.answers.clear()
    script.say(200, LISTED)
    script.say(204, b"")
    revoke(2)
    assert script.seen[-1][:2] == ("DELETE", "/api/v1/tokens/2")


def test_a_new_token_is_said_with_its_end(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.say(201, {"secret": "nl_new", "expires_at": "2027-01-01T00:00:00Z"})
    create("laptop")
    said = capsys.readouterr()
    assert said.out == "nl_new\n"
    assert "It expires at 2027-01-01T00:00:00Z." in said.err
