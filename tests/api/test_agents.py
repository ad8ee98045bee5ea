"""What an agent can do through the Model Context Protocol, by the protocol's own client."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from mcp import Client, StdioServerParameters
from sqlalchemy.orm import Session, sessionmaker

import normlab
from api.settings import Settings
from normlab.agents import Budget, make_server
from normlab.errors import NormlabError, NotReachable
from tests.support.documents import study
from tests.support.trained_study import train_all

Sessions = sessionmaker[Session]
TEXT = yaml.safe_dump(study())
#: Nothing like it was trained: two variants and two seeds, each stopped after an hour.
MOST_MINUTES = 4 * 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Agent:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def use(self, tool: str, **arguments: Any) -> Any:
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return answer.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error
        [content] = answer.content
        assert content.type == "text"
        return content.text


@pytest.fixture
def connect(address: str, member: TestClient) -> Callable[..., Any]:
    """An agent of the member with a budget of so many device-minutes."""
    token = member.headers["Authorization"].removeprefix("Bearer ")

    @asynccontextmanager
    async def connect(budget: float = 0.0) -> AsyncIterator[Agent]:
        with normlab.Client(address, token) as service:
            async with Client(make_server(service, budget)) as client:
                yield Agent(client)

    return connect


@pytest.mark.anyio
async def test_without_a_budget_every_tool_only_reads(
    connect: Callable[..., Any], member: TestClient
) -> None:
    async with connect() as agent:
        tools = (await agent.client.list_tools()).tools
        assert {tool.name for tool in tools} == {
            "template", "presets", "preset", "plan", "show", "wait", "verdict", "studies", "query",
        }  # fmt: skip
        for tool in tools:
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint is True
            assert tool.description
        assert "Unknown tool" in await agent.refused("submit", document=TEXT)
        template = await agent.use("template")
        preset, *_ = (await agent.use("presets"))["presets"]
        preset_study = await agent.use("preset", name=preset["name"])
        assert (await agent.use("plan", document=json.dumps(preset_study)))["kind"] == "study"
        plan = await agent.use("plan", document=template["result"])
        assert plan["kind"] == "study"
        assert "cells" not in plan
    assert member.get("/api/v1/studies").json()["items"] == []


@pytest.mark.anyio
async def test_a_study_is_planned_submitted_within_the_budget_awaited_and_judged(
    connect: Callable[..., Any], sessions: Sessions, settings: Settings, member: TestClient
) -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async with connect(MOST_MINUTES + 1.0) as agent:
        assert (await agent.use("plan", document=TEXT))["bill"]["unknown"] == 4
        accepted = await agent.use("submit", document=TEXT)
        assert accepted["device_minutes_left"] == 1.0
        # An agent that heard no answer sends it again: the same study, paid once.
        again = await agent.use("submit", document=TEXT)
        assert again == accepted
        assert len(member.get("/api/v1/studies").json()["items"]) == 1
        waited = await agent.use("wait", name=accepted["name"], seconds=0)
        assert (waited["status"], waited["has_ended"]) == ("queued", False)
        train_all(sessions, settings.storage.root)
        answer = await agent.client.call_tool(
            "wait", {"name": accepted["name"]}, progress_callback=note
        )
        assert answer.structured_content["has_ended"] is True
        assert seen == [(4, 4)]
        verdict = await agent.use("verdict", study=accepted["name"])
        assert verdict["verdict"]
        assert "| none" in verdict["table"]
        [found] = (await agent.use("studies"))["studies"]
        assert f"s{found['id']}" == accepted["name"]
        rows = (await agent.use("query", query="norm.kind=group", columns=["id", "norm.kind"]))[
            "rows"
        ]
        assert [row["norm.kind"] for row in rows] == ["group", "group"]
        job = await agent.use("show", name=f"j{rows[0]['id']}")
        assert job["status"] == "succeeded"
        assert "log" in job


@pytest.mark.anyio
async def test_what_is_over_the_budget_or_wrong_is_refused_with_the_reason(
    connect: Callable[..., Any], member: TestClient, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(TEXT)
    async with connect(MOST_MINUTES - 1.0) as agent:
        said = await agent.refused("submit", document=TEXT)
        assert "it takes 240.0 device-minutes, and 239.0 are left" in said
        assert "`resources.timeout`" in said
        # A job that is stopped earlier costs less.
        short = yaml.safe_dump(study(base__resources__timeout=60))
        assert (await agent.use("submit", document=short))["device_minutes_left"] == 235.0
        wrong = yaml.safe_dump(study(variants__group__norm__kind="grup"))
        assert "/variants/group/norm/kind" in await agent.refused("plan", document=wrong)
        # A file's name is a text like any other.
        assert "mapping" in await agent.refused("plan", document=str(file))
        for tool in ("wait", "show", "verdict"):
            argument = "study" if tool == "verdict" else "name"
            assert "no study 999" in await agent.refused(tool, **{argument: "s999"})
            assert "nonsense" in await agent.refused(tool, **{argument: "nonsense"})
    assert len(member.get("/api/v1/studies").json()["items"]) == 1


@pytest.mark.anyio
async def test_an_answer_that_is_lost_is_paid_once_and_a_refusal_not_at_all(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, member: TestClient
) -> None:
    def lose(self: normlab.Client, *arguments: Any, **named: Any) -> Any:
        accept(self, *arguments, **named)
        raise NotReachable("the connection broke")

    accept = normlab.Client.accept
    async with connect(MOST_MINUTES) as agent:
        with monkeypatch.context() as patched:
            patched.setattr(normlab.Client, "accept", lose)
            assert "the connection broke" in await agent.refused("submit", document=TEXT)
        assert "0.0 are left" in await agent.refused("submit", document=TEXT + "# another\n")
        assert (await agent.use("submit", document=TEXT))["device_minutes_left"] == 0.0
    assert len(member.get("/api/v1/studies").json()["items"]) == 1


@pytest.mark.parametrize("minutes", [float("nan"), float("inf")])
def test_a_budget_is_a_number(minutes: float) -> None:
    with pytest.raises(NormlabError, match="a budget is a number"):
        Budget(minutes)


@pytest.mark.anyio
async def test_the_command_serves_on_stdin_and_stdout(address: str, member: TestClient) -> None:
    """As an agent's program starts it, with a token that may only read."""
    new = {"name": "agent", "scope": "read"}
    token = member.post("/api/v1/tokens", json=new).json()["secret"]
    environment = {**os.environ, "NORMLAB_URL": address, "NORMLAB_TOKEN": token}
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "normlab", "mcp", "--budget", "1000"], env=environment
    )
    async with Client(command) as client:
        agent = Agent(client)
        assert (await agent.use("studies")) == {"studies": []}
        # What the token may not, no budget makes possible.
        assert "is read-only" in await agent.refused("submit", document=TEXT)
