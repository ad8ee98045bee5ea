"""How the client meets lost connections, refusals and pages: against a socket that really does these."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from normlab.cli.control import retry
from normlab.cli.people.users import create
from normlab.cli.report import download, export
from normlab.cli.show import list_
from normlab.cli.stack import ask_api
from normlab.cli.submit import submit
from normlab.cli.watch import watch
from normlab.client import transport
from normlab.client.client import Client
from normlab.client.documents import read_input
from normlab.errors import NormlabError, NoToken, NotReachable, Refused, Unreadable
from normlab.home import Home, seconds_after_boot


@dataclass
class Script:
    """Answers to give, in order; None hangs up without one."""

    answers: list[tuple[int, dict[str, str], bytes] | None] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def say(self, status: int, body: Any, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, headers, content))


def handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.seen.append((self.command, self.path, dict(self.headers), body))
            answer = script.answers.pop(0)
            if answer is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setattr(transport, "_RETRY_PAUSES", (0.01, 0.01))
    return Script()


@contextmanager
def serve(script: Script) -> Iterator[str]:
    """The URL of a server that follows the script."""
    server = HTTPServer(("127.0.0.1", 0), handler(script))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def client(script: Script) -> Iterator[Client]:
    with serve(script) as url, Client(url, "nl_secret") as made:
        yield made


def test_a_submission_whose_answer_was_lost_is_sent_again_with_the_same_key(
    client: Client, script: Script
) -> None:
    script.answers = [None, None]
    script.say(202, {"id": 7})
    assert str(client.submit({"norm": {"kind": "batch"}})) == "j7"
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in script.seen}
    assert len(script.seen) == 3
    assert len(keys) == 1


def test_two_submissions_have_different_keys(client: Client, script: Script) -> None:
    for number in (1, 2):
        script.say(202, {"id": number})
        client.submit({})
    first, second = (headers["Idempotency-Key"] for _, _, headers, _ in script.seen)
    assert first != second


def test_cancelled_jobs_of_a_study_are_retried_only_when_asked_to(
    client: Client, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_URL", client.url)
    monkeypatch.setenv("NORMLAB_TOKEN", "nl_secret")
    # The command, which has its service from NORMLAB_URL, looks first whether it is there.
    for health in (0, 0, 1, 1):
        script.answers += [(200, {}, b"{}")] * health
        script.say(200, {"status": "queued", "counts": {}})
    client.retry("s2")
    client.retry("s2", cancelled=True)
    retry(["s2"])
    retry(["s2"], cancelled=True)
    paths = [path.removeprefix("/api/v1/") for _, path, _, _ in script.seen if path != "/healthz"]
    assert paths == ["studies/2/retry", "studies/2/retry?cancelled=true"] * 2


def test_an_order_is_never_sent_twice(client: Client, script: Script) -> None:
    script.answers = [None]
    with pytest.raises(NotReachable):
        client.cancel("j1")
    assert len(script.seen) == 1


def test_busy_is_tried_again(client: Client, script: Script) -> None:
    script.say(503, {"title": "busy"}, Retry_After="0")
    script.say(202, {"id": 3})
    assert str(client.submit({"variants": {}})) == "s3"
    assert [path for _, path, _, _ in script.seen] == ["/api/v1/studies"] * 2


def test_what_came_too_soon_is_sent_again_even_if_it_must_not_be_done_twice(
    client: Client, script: Script
) -> None:
    script.say(429, {"title": "Too Many Requests"}, Retry_After="0")
    script.say(200, {"id": 1, "status": "cancelled"})
    client.cancel("j1")
    assert [method for method, *_ in script.seen] == ["POST"] * 2


def test_a_refusal_names_field_layer_and_remedy(client: Client, script: Script) -> None:
    error = {
        "pointer": "/norm/groups",
        "detail": "5 groups do not divide the 32 channels of it",
        "layer": "features.0",
        "remedy": "1, 2, 4, 8, 16, 32",
    }
    script.say(422, {"title": "Unprocessable Content", "detail": "…", "errors": [error]})
    with pytest.raises(Refused) as refused:
        client.submit({})
    assert str(refused.value).splitlines() == [
        "/norm/groups: 5 groups do not divide the 32 channels of it (layer features.0)",
        "  try: 1, 2, 4, 8, 16, 32",
    ]
    assert refused.value.status == 422


def test_a_refusal_of_a_file_begins_with_its_lines(
    client: Client, script: Script, tmp_path: Path
) -> None:
    errors = [
        {"pointer": "/base/norm/kind", "line": 12, "column": 5, "detail": "required, but missing"},
        {"pointer": "/metric", "detail": "no job records it", "remedy": "test_accuracy"},
    ]
    file = tmp_path / "study.yaml"
    file.write_text("variants: {}")
    for _ in range(4):
        script.say(422, {"title": "Unprocessable Content", "detail": "…", "errors": errors})
    for ask in (client.submit, client.plan):
        with pytest.raises(Refused) as refused:
            ask(file)
        assert str(refused.value).splitlines() == [
            f"2 problems in {file}",
            f"{file}:12: /base/norm/kind: required, but missing",
            f"{file}: /metric: no job records it",
            "  try: test_accuracy",
        ]
    with pytest.raises(Refused, match="<text>:12: /base/norm/kind"):
        client.submit("variants: {}\n")
    # The client wrote the lines of a mapping: nobody has seen them.
    with pytest.raises(Refused, match=r"^2 problems\n/base/norm/kind"):
        client.submit({"variants": {}})


def test_a_refusal_of_what_was_set_names_the_option_and_not_the_file() -> None:
    error = {"pointer": "/norm/groups", "setting": "norm={kind: group, groups: 0}", "detail": "bad"}
    refused = Refused(422, {"errors": [error]}, "study.yaml")
    assert str(refused) == "--set 'norm={kind: group, groups: 0}': /norm/groups: bad"


def test_a_refusal_without_fields_is_its_detail_alone(client: Client, script: Script) -> None:
    script.say(404, {"title": "Not Found", "detail": "there is no job 9"})
    with pytest.raises(Refused) as refused:
        client.show("j9")
    assert str(refused.value) == "there is no job 9"


def test_an_answer_that_is_no_problem_is_told_all_the_same(client: Client, script: Script) -> None:
    script.say(502, b"<html>gateway</html>")
    with pytest.raises(Refused, match="gateway"):
        client.show("j1")


def test_a_list_is_read_to_its_last_page(client: Client, script: Script) -> None:
    script.say(200, {"items": [{"id": 1}, {"id": 2}], "next_cursor": "x"})
    script.say(200, {"items": [{"id": 3}], "next_cursor": None})
    assert [job["id"] for job in client.jobs(status="queued")] == [1, 2, 3]
    assert "cursor=x" in script.seen[1][1]
    assert all("status=queued" in path for _, path, _, _ in script.seen)


def test_a_limited_list_asks_for_no_more(client: Client, script: Script) -> None:
    script.say(200, {"items": [{"id": 1}, {"id": 2}], "next_cursor": "x"})
    assert [job["id"] for job in client.jobs(most=2)] == [1, 2]
    assert len(script.seen) == 1


def test_results_put_back_what_is_not_finite(client: Client, script: Script) -> None:
    row = {
        "job_id": 1,
        "variant": "none",
        "point": {"optimizer.lr": 3.0},
        "metrics": {"test_accuracy": 0.1, "test_loss": None},
        "non_finite": {"test_loss": "nan"},
    }
    script.say(200, {"items": [row], "next_cursor": None})
    frame = client.results("s1")
    assert list(frame.columns) == [
        "job_id",
        "variant",
        "optimizer.lr",
        "test_accuracy",
        "test_loss",
    ]
    assert frame["test_loss"].isna().all()


def test_an_interrupted_download_leaves_nothing(
    client: Client, script: Script, tmp_path: Path
) -> None:
    script.answers = [None]
    with pytest.raises(NotReachable):
        client.download("j1", "curves.png", tmp_path / "curves.png")
    script.say(200, b"picture")
    client.download("j1", "a b.png", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes() == b"picture"
    assert script.seen[-1][1] == "/api/v1/jobs/1/files/a%20b.png"
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def unused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_nobody_there_asks_whether_the_stack_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NORMLAB_URL", raising=False)
    monkeypatch.setenv("NORMLAB_HOME", str(tmp_path))
    (tmp_path / "stack.json").write_text(json.dumps({"api_url": unused_url()}))
    with Client() as client, pytest.raises(NotReachable, match="normlab up"):
        client.show("j1")


def test_a_url_that_was_given_is_never_mended_by_a_second_stack() -> None:
    with Client(unused_url(), "nl_x") as client, pytest.raises(NotReachable) as raised:
        client.show("j1")
    assert "the URL given to the client" in str(raised.value)
    assert "normlab up" not in str(raised.value)


def make_home(
    monkeypatch: pytest.MonkeyPatch, folder: Path, url: str, *, pid: int | None = None, **state: Any
) -> None:
    """A home of a stack whose API is at this URL: a process of ours, unless there is another `pid`."""
    for variable in ("NORMLAB_URL", "NORMLAB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NORMLAB_HOME", str(folder))
    began = seconds_after_boot(psutil.Process())
    api = {
        "name": "api",
        "pid": os.getpid() if pid is None else pid,
        "seconds_after_boot": began,
    }
    # A supervisor holds it.
    monkeypatch.setattr(Home, "is_locked", lambda home: home.folder == folder)
    (folder / "token").write_text("nl_home\n")
    (folder / "stack.json").write_text(json.dumps({"api_url": url, "processes": [api], **state}))


def tokens_seen(script: Script) -> list[str | None]:
    return [headers.get("Authorization") for _, _, headers, _ in script.seen]


def test_the_token_of_the_local_stack_is_sent_to_its_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    for _ in range(3):
        script.say(200, {"id": 1})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url)
        for client in (Client(), Client(url), Client(home=Home(tmp_path))):
            with client:
                client.show("j1")
    assert tokens_seen(script) == ["Bearer nl_home"] * 3


COMMANDS: list[Callable[[], object]] = [
    lambda: list_(),
    lambda: submit(Path("study.yaml")),
    lambda: watch(["j1"]),
    lambda: download("j1", Path(".")),
    lambda: export(),
    lambda: create("laptop"),
    lambda: list(Client().export()),
    lambda: Client().report("s1"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_whom_the_url_names_gets_no_token_of_the_local_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script, command: Callable[[], object]
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, "http://127.0.0.1:4321")
        monkeypatch.setenv("NORMLAB_URL", url)
        with pytest.raises(NoToken) as raised:
            command()
    assert script.seen == []
    assert f"NORMLAB_TOKEN is not set, and {url}, which NORMLAB_URL names" in str(raised.value)
    assert f"the one in {tmp_path / 'token'} is for http://127.0.0.1:4321 only" in str(raised.value)


def test_a_port_of_the_environment_that_is_not_the_stack_s_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, unused_url())
        monkeypatch.setenv("NORMLAB_API_PORT", url.rpartition(":")[2])
        assert ask_api(Home.from_environment(), "mirror") is None
        with Client() as client, pytest.raises(NotReachable):
            client.show("j1")
    assert script.seen == []


@pytest.mark.parametrize("pid", [1, 2**22])
def test_whoever_listens_in_the_place_of_the_stack_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script, pid: int
) -> None:
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url, pid=pid)
        with Client() as client:
            for ask in (lambda: client.show("j1"), lambda: list(client.export())):
                with pytest.raises(
                    NotReachable, match="start the local stack with: normlab up --detach"
                ):
                    ask()
    assert script.seen == []


@pytest.mark.parametrize("is_local", [True, False])
def test_the_token_of_the_environment_goes_only_where_the_environment_sends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script, is_local: bool
) -> None:
    owner = "the local stack" if is_local else "https://prod.example/, which NORMLAB_URL names,"
    script.say(200, {"id": 1})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, "http://127.0.0.1:4321")
        monkeypatch.setenv("NORMLAB_TOKEN", "nl_prod")
        if not is_local:
            monkeypatch.setenv("NORMLAB_URL", "https://prod.example/")
        with (
            Client(url) as client,
            pytest.raises(NoToken, match=f"NORMLAB_TOKEN is for {owner} only"),
        ):
            client.show("j1")
        assert script.seen == []
        with Client(url, "nl_given") as client:
            client.show("j1")
        assert tokens_seen(script) == ["Bearer nl_given"]


def test_a_url_that_the_environment_names_too_gets_its_token(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    script.say(200, {"id": 1})
    with serve(script) as url:
        monkeypatch.setenv("NORMLAB_TOKEN", "nl_prod")
        monkeypatch.setenv("NORMLAB_URL", f"{url}/")
        with Client(url) as client:
            client.show("j1")
    assert tokens_seen(script) == ["Bearer nl_prod"]


@pytest.mark.parametrize("pid", [None, 2**22])
def test_a_token_without_a_url_is_for_the_process_that_is_the_local_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script, pid: int | None
) -> None:
    script.say(200, {"id": 1})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url, pid=pid)
        monkeypatch.setenv("NORMLAB_TOKEN", "nl_mine")
        with Client() as client:
            if pid is None:
                client.show("j1")
            else:
                with pytest.raises(NotReachable, match="another service needs NORMLAB_URL and"):
                    client.show("j1")
    assert tokens_seen(script) == (["Bearer nl_mine"] if pid is None else [])


def test_a_redirect_takes_no_token_along(client: Client, script: Script) -> None:
    elsewhere = Script()
    with serve(elsewhere) as url:
        script.say(307, "", Location=f"{url}/api/v1/jobs/1")
        with pytest.raises(Refused, match=f"redirects to {url}/api/v1/jobs/1: set NORMLAB_URL to"):
            client.show("j1")
        script.say(302, "", Location=f"{url}/x")
        with pytest.raises(Refused, match="redirects to"):
            list(client.export())
    assert elsewhere.seen == []


def test_an_address_elsewhere_in_an_answer_gets_no_token(
    client: Client, script: Script, tmp_path: Path
) -> None:
    elsewhere = Script()
    elsewhere.say(200, b"drawn")
    elsewhere.say(200, b"drawn")
    with serve(elsewhere) as url:
        script.say(202, "", Location=f"{url}/drawing", Retry_After="0")
        client.report("s1")
        client.download_path(f"{url}/file", tmp_path / "file")
    assert tokens_seen(elsewhere) == [None, None]


STUDY = "variants: {a: {}}\n"


@pytest.mark.parametrize(
    ("make", "is_study"),
    [
        (lambda folder: {"variants": {}}, True),
        (lambda folder: {"base": {}}, True),
        (lambda folder: "base: {}\n", True),
        (lambda folder: {"norm": {}}, False),
        (lambda folder: STUDY, True),
        (lambda folder: '{"variants": {}}', True),
        (lambda folder: "norm: {}\nmodel: {}", False),
        (lambda folder: folder / "study.yaml", True),
        (lambda folder: str(folder / "study.yaml"), True),
    ],
)
def test_a_document_comes_as_file_text_or_mapping(
    tmp_path: Path, make: Callable[[Path], Any], is_study: bool
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    assert read_input(make(tmp_path)).is_study is is_study


def test_a_json_file_is_sent_as_json(tmp_path: Path) -> None:
    # YAML has no tabs, and a body of it is shorter.
    file = tmp_path / "study.json"
    file.write_text(json.dumps({"variants": {}}, indent="\t"))
    found = read_input(file)
    assert (found.content, found.media_type) == (file.read_bytes(), "application/json")
    assert found.is_study


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("study.yaml", "variants: [", "study.yaml: broken YAML at line 1, column 12"),
        ("study.json", "{broken", "study.json: broken JSON at line 1, column 2"),
    ],
)
def test_what_is_neither_yaml_nor_json_is_refused_before_it_is_sent(
    client: Client, script: Script, tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Unreadable, match=said):
        client.submit(tmp_path / name)
    assert script.seen == []


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NormlabError, match="No such file"):
        read_input(tmp_path / "none.yaml")
