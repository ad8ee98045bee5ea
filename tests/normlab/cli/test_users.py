"""Tokens, users and their use from the command line; what becomes of tokens made with one that is revoked."""

import json
from collections.abc import Iterator

import pytest

from normlab.cli.users import Children, create, revoke, set_limits, set_user, usage
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


def test_a_weight_is_sent_alone(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.say(200, {"name": "noa b", "role": "member", "weight": 2.0})
    set_user("noa b", weight=2.0)
    assert script.seen[-1][:2] == ("PATCH", "/api/v1/users/noa%20b")
    assert json.loads(script.seen[-1][3]) == {"weight": 2.0}
    assert capsys.readouterr().out == "noa b: role member, weight 2\n"


def test_a_change_of_nothing_is_refused(script: Script) -> None:
    with pytest.raises(NormlabError, match="give --role or --weight"):
        set_user("noa")


def test_use_is_shown_with_the_reason_of_each_person(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"seconds": 90.0, "running_seconds": 0.0, "weight": 1.0, "weighted_seconds": 90.0}
    item = {**numbers, "user": "noa", "share": 0.25, "turn": 1, "running": 0, "queued": 2}
    script.answers.clear()
    script.say(200, {"half_life_seconds": 3600.0, "items": [{**item, "since": None, "why": "so"}]})
    usage()
    said = capsys.readouterr().out
    assert "25%" in said
    assert "noa: so\n" in said
    assert said.endswith("Half of the time is forgotten in 1h 00m.\n")


def test_limits_are_sent_as_numbers_times_or_nothing(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {"role": None, "user": "noa", "running": 4, "queued": None, "priority": None}
    script.say(200, {**shown, "device_seconds_per_day": 28800.0, "timeout_seconds": None})
    set_limits(user="noa", running="4", queued="none", device_time="8h")
    assert script.seen[-1][:2] == ("PATCH", "/api/v1/limits/users/noa")
    sent = {"running": 4, "queued": None, "device_seconds_per_day": "8h"}
    assert json.loads(script.seen[-1][3]) == sent
    assert "8h 00m" in capsys.readouterr().out
    with pytest.raises(NormlabError, match="give either --role or --user"):
        set_limits(running="4")
