"""Tokens, users, their limits and use from the command line; what becomes of tokens made with one that is revoked."""

import json
from collections.abc import Iterator

import pytest

from normlab.cli.people.users import Children, audit, create, revoke, set_user
from normlab.cli.usage import gc, set_limits, usage
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
    create("laptop", read_only=True)
    assert json.loads(script.seen[-1][3]) == {"name": "laptop", "scope": "read"}
    said = capsys.readouterr()
    assert said.out == "nl_new\n"
    assert "It expires at 2027-01-01T00:00:00Z." in said.err


CHANGED = {
    "name": "noa b",
    "role": "member",
    "weight": 2.0,
    "disabled_at": None,
    "unmanaged_projects": [],
}


def test_a_weight_is_sent_alone(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.say(200, CHANGED)
    set_user("noa b", weight=2.0)
    assert script.seen[-1][:2] == ("PATCH", "/api/v1/users/noa%20b")
    assert json.loads(script.seen[-1][3]) == {"weight": 2.0}
    assert capsys.readouterr().out == "noa b: role member, weight 2\n"


def test_who_disables_a_project_s_only_admin_is_told(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    since = "2027-01-01T00:00:00Z"
    script.say(200, {**CHANGED, "disabled_at": since, "unmanaged_projects": ["lab"]})
    set_user("noa b", disabled=True)
    assert json.loads(script.seen[-1][3]) == {"disabled": True}
    said = capsys.readouterr()
    assert said.out == "noa b: role member, weight 2, disabled\n"
    assert "normlab project invite lab NAME --role admin" in said.err


def test_a_change_of_nothing_is_refused(script: Script) -> None:
    with pytest.raises(NormlabError, match="give --role, --weight, --disable or --enable"):
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
    assert said.endswith("Past use decays with a half-life of 1h 00m.\n")


def test_limits_are_sent_as_numbers_times_or_nothing(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {"role": None, "user": "noa", "running": 4, "queued": None, "priority": None}
    times = {"device_seconds_per_day": 28800.0, "timeout_seconds": None}
    script.say(200, {**shown, **times, "disk_bytes": 20_000_000_000})
    set_limits(user="noa", running="4", queued="none", device_time="8h", disk="20GB")
    assert script.seen[-1][:2] == ("PATCH", "/api/v1/limits/users/noa")
    sent = {"running": 4, "queued": None, "device_seconds_per_day": "8h", "disk_bytes": "20GB"}
    assert json.loads(script.seen[-1][3]) == sent
    said = capsys.readouterr().out
    assert "8h 00m" in said
    assert "20.0 GB" in said
    with pytest.raises(NormlabError, match="give either --role or --user"):
        set_limits(running="4")


def test_the_disk_is_shown_by_person_with_what_could_go(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"checkpoint_bytes": 3_000_000, "file_bytes": 12, "limit_bytes": None}
    removable = {"checkpoints": 2, "bytes": 2_000_000}
    script.answers.clear()
    script.say(200, {"items": [{"user": "noa", **own}], "removable": removable})
    usage(disk=True)
    assert script.seen[-1][:2] == ("GET", "/api/v1/disk")
    said = capsys.readouterr().out
    assert "3 MB" in said
    assert "2 checkpoints (2 MB) could be removed: normlab gc --dry-run" in said


def test_what_goes_is_said_before_and_after(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    removed = {"checkpoints": 2, "bytes": 2_000_000}
    for answer in (removed, {}, removed):
        script.say(200, answer)
    gc("1d", dry_run=True)
    assert json.loads(script.seen[-1][3]) == {"older_than": "1d", "dry_run": True}
    gc()
    assert capsys.readouterr().out.splitlines() == [
        "2 checkpoints (2 MB) would be removed",
        "2 checkpoints (2 MB) were removed",
    ]


def test_the_latest_changes_are_listed_with_their_values(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"at": "2027-01-01T00:00:00Z", "user": "ada", "token": "laptop", "subject": "noa"}
    detail = {"weight": 2.0, "role": None}
    script.answers.clear()
    script.say(
        200,
        {"items": [{**row, "action": "user.changed", "detail": detail}] * 3, "next_cursor": None},
    )
    audit(user="ada", limit=2)
    assert script.seen[-1][:2] == ("GET", "/api/v1/audit?user=ada&limit=2")
    said = capsys.readouterr().out
    assert said.count("weight: 2.0") == 2
    assert "role" not in said
