"""How the local stack asks its parts, and what it tells whom."""

from pathlib import Path

import pytest

from normlab.errors import StackError
from normlab.home import Home
from normlab.stack.daemons import Daemon, make_checks
from normlab.stack.environments import API_ROLE, service_environment
from normlab.stack.parts import Part
from normlab.stack.servers import Postgres, Redis
from tests.normlab.client.test_transport import Script, make_home, serve, tokens_seen


@pytest.fixture
def script() -> Script:
    return Script()


class Process(Daemon):
    """One that is said to run under this id."""

    def __init__(self, pid: int) -> None:
        super().__init__([], {}, Path(), Path())
        self._pid = pid

    @property
    def pid(self) -> int:
        return self._pid


def home_at(folder: Path, url: str) -> Home:
    return Home(folder, api_port=int(url.rpartition(":")[2]))


def test_the_worker_is_ready_once_the_api_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    script.say(503, {})
    script.say(200, {"items": []})
    script.say(200, {"items": [{"process": 7, "alive": True}]})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url)
        check = make_checks(home_at(tmp_path, url), "nl_home", Process(7))["worker"]
        assert [check().ready for _ in range(3)] == [False, False, True]


def test_the_worker_of_an_earlier_run_is_not_the_one_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    earlier = {"process": 6, "alive": True}
    for row in (earlier, {"process": 7, "alive": False}):
        script.say(200, {"items": [earlier, row]})
    script.say(200, {"items": [earlier, {"process": 7, "alive": True}]})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url)
        check = make_checks(home_at(tmp_path, url), "nl_home", Process(7))["worker"]
        assert [check().ready for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("status", [401, 403])
def test_a_stack_whose_token_is_refused_gets_ready_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script, status: int
) -> None:
    script.say(status, {})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url)
        process = Process(7)
        checks = make_checks(home_at(tmp_path, url), "nl_home", process)
        worker = Part("worker", process, checks["worker"])
        worker.state = "starting"
        while worker.state == "starting":
            worker.ask()
    [remark] = worker.remarks
    assert f"rejects the token in {tmp_path / 'token'}" in remark
    assert "python -m migrations reset-admin" in remark


def test_whoever_listens_before_the_api_does_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url, pid=1)
        assert not make_checks(home_at(tmp_path, url), "nl_home", Process(7))["worker"]().ready
    assert tokens_seen(script) == []


def test_the_processes_get_no_token_of_the_person_who_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NORMLAB_TOKEN", "NORMLAB_BOOTSTRAP_TOKEN"):
        monkeypatch.setenv(name, "nl_mine")
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "password").write_text("p")
    postgres = Postgres(tmp_path / "postgres", sockets=tmp_path)
    redis = Redis(tmp_path / "redis", sockets=tmp_path)
    environment = service_environment(Home(tmp_path), postgres, redis, API_ROLE)
    assert "nl_mine" not in environment.values()


def test_a_token_file_that_could_be_guessed_starts_no_stack(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("nl_short\n")
    with pytest.raises(StackError, match="8 characters and needs at least 32: remove the file"):
        Home(tmp_path).ensure_token()
    (tmp_path / "token").unlink()
    assert len(Home(tmp_path).ensure_token()) >= 32
