"""The Python client: submit, wait, get results as tables.

from normlab import Client

client = Client()
study = client.submit("study.yaml")
client.wait(study)
client.results(study)      # pandas.DataFrame, one row per job
client.query("norm.kind=group and best.val_accuracy>0.9", sort="-best.val_accuracy")   # of all studies
client.comparison(study)   # verdict, means, intervals, differences to the baseline
client.report(study)       # all of it with figures, as one HTML file: bytes
client.verdicts(study)     # whether its claims hold
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import quote

from normlab.client.documents import Document, read_input
from normlab.client.ids import Reference
from normlab.client.results import Item, Named, ResultReader, as_mapping
from normlab.client.waiting import outlast_outage
from normlab.errors import Refused, WaitedTooLong
from normlab.home import Home

FINAL = frozenset({"succeeded", "failed", "cancelled", "partial"})


class Client(ResultReader):
    """Jobs and studies are named `j12` and `s3`, or by the Reference that `submit` returns.

    Without arguments: NORMLAB_URL and NORMLAB_TOKEN, else the local stack of NORMLAB_HOME. The token of
    that home is sent to its own API only: any other URL needs a token of its own.
    Every method raises NormlabError with a message for the user.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, home: Home | None = None
    ) -> None:
        # httpx takes a third of the time in which the command starts, and its help needs none.
        from normlab.client.transport import Transport

        self._http = Transport(url, token, home=home)

    @property
    def url(self) -> str:
        return self._http.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        document: Path | str | Mapping[str, Any],
        *,
        key: str | None = None,
        settings: Sequence[str] = (),
        fresh: bool = False,
    ) -> Reference:
        """A job or a study: a file, YAML or JSON text, or a mapping. Sent again safely (`key`).

        `settings`: values of the document to set first, such as `base.optimizer.lr=0.01`. A job of which an equal
        one has succeeded gets its results and isn't trained, unless `fresh`.
        """
        return self.accept(document, key=key, settings=settings, fresh=fresh)[0]

    def accept(
        self,
        document: Path | str | Mapping[str, Any],
        *,
        key: str | None = None,
        settings: Sequence[str] = (),
        fresh: bool = False,
    ) -> tuple[Reference, Item]:
        """As `submit`, with the whole answer: for a study it notes which others train the same."""
        given = read_input(document)
        answer = self._send(
            "studies" if given.is_study else "jobs",
            given,
            settings,
            # A new key for each call and the same for its retries: sent twice it is one job, called twice it is
            # two.
            {"Idempotency-Key": key or str(uuid.uuid4())},
            fresh=fresh,
        )
        return Reference("study" if given.is_study else "job", answer["id"]), answer

    def plan(
        self,
        document: Path | str | Mapping[str, Any],
        *,
        settings: Sequence[str] = (),
        fresh: bool = False,
    ) -> Item:
        """What `submit` would train, and for how long; nothing is created. Raises Refused if it can't be
        trained."""
        return self._send("plans", read_input(document), settings, fresh=fresh)

    def show(self, name: Named) -> Item:
        return as_mapping(self._http.get(Reference.parse(name).path))

    def jobs(self, *, most: int | None = None, **filters: Any) -> list[Item]:
        """Newest first; filters: project, study, status, variant, owner, tag; archived=True: those, too."""
        return list(self._http.items("jobs", most=most, **filters))

    def studies(self, *, most: int | None = None, **filters: Any) -> list[Item]:
        """Newest first; filters: project, owner, tag; archived=True: those, too."""
        return list(self._http.items("studies", most=most, **filters))

    def jobs_of(self, study: Named) -> list[Item]:
        """In the order of the study."""
        jobs = self._http.items(f"{Reference.study(study).path}/jobs")
        return sorted(jobs, key=lambda job: int(job["id"]))

    def wait(
        self,
        name: Named,
        *,
        timeout: float | None = None,
        on_change: Callable[[Item], None] | None = None,
    ) -> Item:
        """The job or study in its final status; an outage of the service is waited out."""
        reference = Reference.parse(name)
        for item in self.follow(reference, timeout=timeout):
            if on_change:
                on_change(item)
        return item

    def follow(self, name: Named, *, timeout: float | None = None) -> Iterator[Item]:
        """What `show` says, whenever it has changed; ends at the final status."""
        reference = Reference.parse(name)
        # One deadline for everything: outages count as waiting, or a wait of an hour might take two.
        deadline = time.monotonic() + timeout if timeout is not None else None
        seen: Item | None = None
        pause = 0.25
        while True:
            item = outlast_outage(partial(self.show, reference), deadline)
            if item != seen:
                yield item
                pause = 0.25
            if item["status"] in FINAL:
                return
            if deadline is not None and time.monotonic() + pause > deadline:
                raise WaitedTooLong(f"{reference} is still {item['status']} after {timeout:g} s")
            # From a quarter of a second to two seconds: a short job is seen to end at once, a long one costs few
            # requests. Any change makes it quick again.
            time.sleep(pause)
            seen, pause = item, min(pause * 1.5, 2.0)

    def order(self, name: Named, verb: str, **parameters: Any) -> Item:
        """`cancel`, `pause`, `resume` or `retry`."""
        return as_mapping(self._http.post(f"{Reference.parse(name).path}/{verb}", **parameters))

    def cancel(self, name: Named) -> Item:
        return self.order(name, "cancel")

    def pause(self, name: Named) -> Item:
        return self.order(name, "pause")

    def resume(self, name: Named) -> Item:
        return self.order(name, "resume")

    def retry(self, name: Named, *, cancelled: bool = False) -> Item:
        """A failed or cancelled job, again; a study's failed jobs, and if asked to the cancelled ones."""
        return self.order(name, "retry", cancelled=cancelled or None)

    def prioritize(self, name: Named, priority: str) -> Item:
        """`low`, `normal`, `high` or `urgent`, for a job or a study's jobs that haven't ended."""
        path = f"{Reference.parse(name).path}/priority"
        return as_mapping(self._http.post(path, {"priority": priority}))

    def extend(self, study: Named, seeds: int | list[int], *, fresh: bool = False) -> Item:
        """More seeds: a number of further ones, or exactly these."""
        answer = self._http.request(
            "POST",
            f"{Reference.study(study).path}/extend",
            again=True,
            params={"fresh": True} if fresh else None,
            content=json.dumps({"seeds": seeds}).encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
        )
        return as_mapping(answer.json())

    def annotate(
        self,
        name: Named,
        *,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        archived: bool | None = None,
    ) -> Item:
        """Tags (all of them), a note, out of the way or not; what is None stays."""
        said = {"tags": tags, "note": note, "archived": archived}
        body = {key: value for key, value in said.items() if value is not None}
        return as_mapping(self._http.request("PATCH", Reference.parse(name).path, json=body).json())

    def declare(self, study: Named, kind: str, why: str) -> Item:
        """Acknowledges a difference between variants that withholds the ranking (`confounds`)."""
        path = f"{Reference.study(study).path}/declarations"
        return as_mapping(self._http.post(path, {"kind": kind, "why": why}))

    def presets(self) -> list[Item]:
        """The catalogue: studies that reproduce a result of the literature."""
        return list(self._http.items("presets"))

    def preset(self, name: str, **parameters: Any) -> Item:
        """All of one, with the study that a run would submit; parameters: scale, dataset."""
        return as_mapping(self._http.get(f"presets/{quote(name)}", **parameters))

    def run_preset(self, name: str, *, fresh: bool = False, **wanted: Any) -> Reference:
        """Submits its study; wanted: scale, dataset, project, seeds. Sent again safely."""
        answer = self._http.request(
            "POST",
            f"presets/{quote(name)}/runs",
            again=True,
            params={"fresh": True} if fresh else None,
            content=json.dumps(wanted).encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
        )
        return Reference("study", answer.json()["id"])

    def datasets(self) -> list[Item]:
        return list(self._http.items("datasets"))

    def dataset(self, name: str) -> Item:
        return as_mapping(self._http.get(f"datasets/{name}"))

    def add_dataset(self, name: str, source: Mapping[str, Any]) -> Item:
        """Registers it; a worker then decodes it as a job of its own (`job_id`)."""
        return as_mapping(self._http.post("datasets", {"name": name, "source": dict(source)}))

    def preview(self, name: str, **options: Any) -> bytes:
        """A PNG of augmented training images; options: augmentation, images, draws, seed, image_size …"""
        answer = self._http.request(
            "POST", f"datasets/{quote(name)}/preview", again=True, json=options
        )
        return answer.content

    def class_pictures(self, name: str, **options: Any) -> bytes:
        """A PNG of training images of each class; options: images, pixels, names."""
        path = f"datasets/{quote(name)}/pictures"
        return self._http.request("GET", path, again=True, params=options).content

    def get(self, path: str, **parameters: Any) -> Any:
        """Any other address below /api/v1."""
        return self._http.get(path, **parameters)

    def post(self, path: str, body: Any = None) -> Any:
        return self._http.post(path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._http.request("PATCH", path, json=body).json()

    def put(self, path: str, body: Any) -> Any:
        return self._http.request("PUT", path, json=body).json()

    def delete(self, path: str, **parameters: Any) -> None:
        self._http.request("DELETE", path, params=parameters)

    def items(self, path: str, **parameters: Any) -> list[Item]:
        """All items of any list below /api/v1."""
        return list(self._http.items(path, **parameters))

    def _send(
        self,
        path: str,
        given: Document,
        settings: Sequence[str],
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        fresh: bool = False,
    ) -> Item:
        """A refusal says where in the document it is about."""
        parameters = {"set": list(settings)} if settings else {}
        try:
            answer = self._http.request(
                "POST",
                path,
                again=True,
                content=given.content,
                params=(parameters | ({"fresh": True} if fresh else {})) or None,
                headers={"Content-Type": given.media_type, **headers},
            )
        # Raised anew with the document's name, which the transport doesn't know, and without the first one's
        # traceback.
        except Refused as error:
            raise Refused(error.status, error.problem, given.name) from None
        return as_mapping(answer.json())
