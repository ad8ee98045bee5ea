"""Normlab for an agent, as a server of the Model Context Protocol (MCP).

Its tools are those of the Python client: plan with the bill, submit within a budget, wait, read the verdict.
"""

import hashlib
import math
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial, wraps
from http import HTTPStatus
from importlib import resources
from typing import Annotated, Any

from anyio import sleep, to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from normlab.client import FINAL, Client, Reference, outlast_outage
from normlab.errors import NormlabError, Refused

#: Clients of the protocol give up after a while, many of them after a minute.
LONGEST_WAIT_SECONDS = 3600.0
_PAUSE_SECONDS = 2.0
#: Of a list or a query; a log's last lines.
MOST_ROWS = 100
_LOG_LINES = 50

_INSTRUCTIONS = """Normlab trains neural networks that differ in normalization or regularization, each with several seeds, and says
which variant is better and whether the difference is real.

Start from `template`, or from a study of the literature (`presets`). Check a document with `plan`: it says whether a
verdict is possible and what the training takes. {submitting}Read `verdict` before any number: a leaderboard of means
is no answer. Studies are called s3, jobs j12."""
_MAY_SUBMIT = "Then `submit` it, `wait`, and read its `verdict`. "
_READS_ONLY = "This session reads only: a person submits. "

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)

Document = Annotated[str, Field(description="a job or a study, as YAML or JSON text")]
Study = Annotated[str, Field(description="a study, such as s3")]
Named = Annotated[str, Field(description="a study (s3) or a job (j12)")]


class OverBudget(NormlabError):
    """What a document takes is more than what is left."""


class Budget:
    """Device time that one session may still order, in seconds, by the bills. For many threads."""

    def __init__(self, minutes: float) -> None:
        if not math.isfinite(minutes):
            raise NormlabError(f"a budget is a number of minutes, but is {minutes}")
        self._left = 60.0 * minutes
        self._reserved: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def minutes_left(self) -> float:
        return self._left / 60.0

    def reserve(self, key: str, bill: dict[str, Any]) -> None:
        """Raises OverBudget; the same key is charged once. A job without comparable finished jobs counts with its timeout."""
        seconds = (bill["device_seconds"] or 0.0) + bill["unknown_seconds"]
        with self._lock:
            if key in self._reserved:
                return
            if seconds > self._left:
                raise OverBudget(_explain(bill, seconds, self.minutes_left))
            self._reserved[key] = seconds
            self._left -= seconds

    def release(self, key: str) -> None:
        """What was reserved is not ordered."""
        with self._lock:
            self._left += self._reserved.pop(key, 0.0)


def _explain(bill: dict[str, Any], seconds: float, left: float) -> str:
    text = f"it takes {seconds / 60:.1f} device-minutes, and {left:.1f} are left of this session's budget"
    if bill["unknown"]:
        text += (
            f"; {bill['unknown']} jobs have no comparable finished jobs and count with their `resources.timeout` "
            f"({bill['unknown_seconds'] / 60:.1f} minutes in all): set a shorter one, or submit a smaller study first"
        )
    return text


class Tools:
    """What an agent can do. Documents are texts, never names of files of this machine."""

    def __init__(self, client: Client, budget_minutes: float) -> None:
        self._client = client
        self._budget = Budget(budget_minutes)
        self._session = uuid.uuid4().hex
        self._submitted: dict[str, dict[str, Any]] = {}
        self._submitting = threading.Lock()

    def template(self) -> str:
        """A commented study to start from, as YAML."""
        return (resources.files("normlab") / "template.yaml").read_text(encoding="utf-8")

    def presets(self) -> dict[str, Any]:
        """Studies that reproduce a result of the literature: names, titles, papers and claims."""
        wanted = ("name", "title", "topic", "paper", "claims")
        return {"presets": [{key: one[key] for key in wanted} for one in self._client.presets()]}

    def preset(
        self,
        name: Annotated[str, Field(description="as `presets` lists it")],
        scale: Annotated[str, Field(description="small: minutes on a CPU")] = "small",
    ) -> dict[str, Any]:
        """The study of a preset: as YAML or JSON text, changed or not, it can be planned and submitted."""
        study: dict[str, Any] = self._client.preset(name, scale=scale)["study"]
        return study

    def plan(self, document: Document) -> dict[str, Any]:
        """Check a document and say what it would train: jobs, the bill, and whether a verdict is possible. Creates nothing."""
        found = self._client.plan(_as_text(document))
        # One line for each job of a study of a thousand is nothing to read.
        return {key: value for key, value in found.items() if key not in ("cells", "parameters")}

    def submit(self, document: Document) -> dict[str, Any]:
        """Submit a document if its bill, an estimate, is within this session's budget. The same document again is the same
        study."""
        digest = hashlib.sha256(document.encode()).hexdigest()
        # One after another: a document that is sent twice at once must not be paid twice.
        with self._submitting:
            if digest not in self._submitted:
                self._submitted[digest] = self._order(_as_text(document), digest)
            return self._submitted[digest] | {
                "device_minutes_left": round(self._budget.minutes_left, 2)
            }

    def _order(self, text: str, digest: str) -> dict[str, Any]:
        bill = self._client.plan(text)["bill"]
        self._budget.reserve(digest, bill)
        try:
            reference, item = self._client.accept(text, key=f"{self._session}-{digest}")
        except Refused as error:
            # Of any other failure nobody knows whether it was accepted: it stays reserved, and may be sent again.
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                self._budget.release(digest)
            raise
        return {
            "name": str(reference),
            "status": item["status"],
            "warnings": item.get("warnings", []),
            "bill": bill,
        }

    def show(self, name: Named) -> dict[str, Any]:
        """All of a study or a job: status, counts, spec, warnings; of a job its metrics and the last lines of its log."""
        reference = Reference.parse(name)
        item = self._client.show(reference)
        if reference.kind == "job":
            lines = self._client.items(f"{reference.path}/logs", limit=1000)[-_LOG_LINES:]
            item["log"] = [f"{line['level']}: {line['text']}" for line in lines]
        return item

    async def wait(
        self,
        name: Named,
        context: Context,
        seconds: Annotated[float, Field(ge=0, le=LONGEST_WAIT_SECONDS)] = 45.0,
    ) -> dict[str, Any]:
        """Wait until a study or job has ended, or so many seconds; says its status, and progress meanwhile. Call it again
        until `has_ended`."""
        reference = _with_errors(Reference.parse)(name)
        deadline = time.monotonic() + seconds
        reported = -1.0
        while True:
            item = await to_thread.run_sync(_show, self._client, reference, deadline)
            done, total = _progress(item)
            if done > reported:
                await context.report_progress(done, total, item["status"])
                reported = done
            left = deadline - time.monotonic()
            if item["status"] in FINAL or left <= 0:
                break
            await sleep(min(_PAUSE_SECONDS, left))
        keys = ("status", "reason", "error", "counts", "step", "total_steps", "metrics", "warnings")
        said = {key: item[key] for key in keys if item.get(key)}
        return {"name": str(reference), "has_ended": item["status"] in FINAL, **said}

    def verdict(self, study: Study) -> dict[str, Any]:
        """Which variant is better and whether the difference is real: the sentence, what limits it, the table, the claims."""
        reference = Reference.study(study)
        comparison = self._client.comparison(reference)
        return {
            "study": str(reference),
            "status": self._client.show(reference)["status"],
            "verdict": comparison["verdict"]["sentence"],
            "reasons": comparison["verdict"]["reasons"],
            "notes": [*comparison.get("explanations", []), *comparison.get("notes", [])],
            "table": self._client.comparison_table(reference, "markdown"),
            "claims": self._client.verdicts(reference),
        }

    def studies(
        self,
        project: Annotated[str | None, Field(description="of this project only")] = None,
        most: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 20,
    ) -> dict[str, Any]:
        """The newest studies: name, project, owner, status, counts."""
        wanted = ("id", "name", "project", "owner", "status", "counts", "tags", "created_at")
        found = self._client.studies(most=most, project=project)
        return {"studies": [{key: one.get(key) for key in wanted} for one in found]}

    def query(
        self,
        query: Annotated[
            str, Field(description="norm.kind=group and optimizer.lr>=0.1 and status=succeeded")
        ],
        columns: Annotated[
            list[str] | None, Field(description="fields, such as norm.kind or best.val_accuracy")
        ] = None,
        sort: Annotated[
            str | None, Field(description="a field; -best.val_accuracy for falling")
        ] = None,
        most: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 20,
    ) -> dict[str, Any]:
        """Results of all studies, a row per job. To find jobs, not to judge variants: that is what `verdict` is for."""
        named = ",".join(columns) if columns else None
        rows = self._client.result_rows(query=query, columns=named, sort=sort, most=most)
        return {"rows": rows}


def make_server(client: Client, budget_minutes: float = 0.0) -> MCPServer:
    """With a budget of 0 it reads only, and has no tool that changes anything."""
    tools = Tools(client, budget_minutes)
    submitting = _MAY_SUBMIT if budget_minutes else _READS_ONLY
    server = MCPServer(
        "normlab", instructions=_INSTRUCTIONS.format(submitting=submitting), log_level="WARNING"
    )
    reading = (
        tools.template, tools.presets, tools.preset, tools.plan, tools.show, tools.verdict, tools.studies, tools.query,
    )  # fmt: skip
    for tool in reading:
        server.add_tool(_with_errors(tool), annotations=_READS)
    server.add_tool(tools.wait, annotations=_READS)
    if budget_minutes:
        server.add_tool(_with_errors(tools.submit), annotations=_ADDS)
    return server


def _with_errors(tool: Callable[..., Any]) -> Callable[..., Any]:
    """An error's message is for the agent: it says what to change."""

    @wraps(tool)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return tool(*arguments, **named)
        except NormlabError as error:
            raise ToolError(str(error)) from None

    return call


@_with_errors
def _show(client: Client, reference: Reference, deadline: float) -> dict[str, Any]:
    """An outage of the service is waited out."""
    return outlast_outage(partial(client.show, reference), deadline)


def _as_text(document: str) -> str:
    # The new line tells text from a file name.
    return document + "\n"


def _progress(item: dict[str, Any]) -> tuple[float, float | None]:
    if counts := item.get("counts"):
        return sum(counts[status] for status in FINAL if status in counts), sum(counts.values())
    return item.get("step") or 0, item.get("total_steps")
