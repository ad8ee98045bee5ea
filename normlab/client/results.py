"""What the client reads of results: rows, groups, comparisons, reports, figures, files."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack
from urllib.parse import quote

from normlab.client.dataframes import flatten, flatten_group, frame
from normlab.client.ids import PREFIX, Reference
from normlab.client.waiting import retry_after
from normlab.errors import NormlabError, Refused

if TYPE_CHECKING:
    import pandas

    from normlab.client.transport import Transport

Item: TypeAlias = dict[str, Any]
Named: TypeAlias = Reference | str | int
#: Seconds between two requests for a figure or report, unless the service sends Retry-After.
_DRAWING_PAUSE = 2.0


class SideBySide(TypedDict, total=False):
    """What is put side by side: groups `by` fields, or the variants of several studies."""

    by: Sequence[str] | None
    studies: Sequence[Named]
    metric: str | None
    reference: str | None


class ResultReader:
    """The reading half of `normlab.Client`."""

    _http: "Transport"

    def results(self, study: Named | None = None, **filters: Any) -> "pandas.DataFrame":
        """One row per job; metrics and matrix points are columns, NaN and infinities are themselves."""
        return frame(flatten(row) for row in self.result_rows(study, **filters))

    def result_rows(self, study: Named | None = None, **filters: Any) -> list[Item]:
        """As the service sends them; filters: project, variant, status, owner, query, sort, columns."""
        return list(self._http.items("results", study=_number(study), **filters))

    def query(
        self,
        query: str | None = None,
        *,
        sort: str | None = None,
        columns: Sequence[str] | None = None,
        group_by: Sequence[str] | None = None,
        metric: str | None = None,
        study: Named | None = None,
        most: int | None = None,
    ) -> "pandas.DataFrame":
        """Results by the query language: `norm.kind=group and optimizer.lr>=0.1 and best.val_accuracy>0.9`.

        One row per job; `sort="-best.val_accuracy"` for falling, `columns=["norm.kind", "test_accuracy"]`
        for any fields instead of all. With `group_by=["norm.kind"]` a row per group, with the statistics of
        `metric` (best_val_accuracy unless said).
        """
        if group_by is not None:
            # `most` is applied here: the service has all groups at once and pages none of them.
            groups = self.groups(query, by=group_by, metric=metric, sort=sort, study=study)
            return frame(flatten_group(group) for group in groups[:most])
        filters: Item = {"query": query, "sort": sort, "most": most}
        if columns is None:
            return frame(flatten(row) for row in self.result_rows(study, **filters))
        names = _names(columns)
        return frame(self.result_rows(study, columns=",".join(names), **filters), names)

    def groups(
        self,
        query: str | None = None,
        *,
        by: Sequence[str],
        metric: str | None = None,
        sort: str | None = None,
        study: Named | None = None,
    ) -> list[Item]:
        """Results by the values of these fields, with statistics, as the service sends them."""
        wanted: Item = {"query": query, "by": ",".join(_names(by)), "metric": metric, "sort": sort}
        return list(self._http.items("results/groups", study=_number(study), **wanted))

    def export(
        self,
        query: str | None = None,
        *,
        format: str = "csv",
        study: Named | None = None,
        trials: bool = False,
    ) -> Iterator[bytes]:
        """All results that match, flat, as `csv` or `jsonl`, while they come; `trials`: those of tuning, too."""
        wanted: Item = {"query": query, "format": format, "study": _number(study)}
        return self._http.stream("results/export", **wanted, trials=trials or None)

    def comparison(self, study: Named, metric: str | None = None) -> Item:
        path = f"{Reference.study(study).path}/comparison"
        return as_mapping(self._http.get(path, metric=metric))

    def comparison_table(self, study: Named, format: str, metric: str | None = None) -> str:
        """Its table alone, as `csv` (unrounded), `markdown` or `latex` (for a paper)."""
        return self._document(study, "comparison", format=format, metric=metric).decode()

    def side_by_side(self, query: str | None = None, **asked: Unpack[SideBySide]) -> Item:
        """Groups of any jobs by the values of the fields `by`, or the variants of several `studies`, each against the
        `reference`: paired where jobs pair. Exploratory: nothing of it was fixed beforehand."""
        return as_mapping(self._http.get("results/comparison", query=query, **_sent(asked)))

    def side_by_side_table(self, query: str | None = None, **asked: Unpack[SideBySide]) -> str:
        """Its groups alone, as CSV."""
        wanted = {"query": query, "format": "csv", **_sent(asked)}
        return b"".join(self._http.stream("results/comparison", **wanted)).decode()

    def verdicts(self, study: Named) -> list[Item]:
        """Whether each of the study's claims holds, as of now."""
        return list(self._http.items(f"{Reference.study(study).path}/verdicts"))

    def report(
        self, study: Named, format: str = "html", *, on_wait: Callable[[], None] | None = None
    ) -> bytes:
        """The answer as one document: `html` (one file, pictures inside), `json` or `markdown`.

        Waits until the pictures are drawn, and calls `on_wait` each time that they aren't yet.
        """
        path = f"{Reference.study(study).path}/report"
        return self._drawn(path, {"format": format}, on_wait)

    def figure(
        self,
        study: Named,
        name: str,
        format: str = "png",
        *,
        on_wait: Callable[[], None] | None = None,
    ) -> bytes:
        """A figure of the report as `png`, `svg` or `pdf`; the report as `json` names them. Waits until it is drawn."""
        path = f"{Reference.study(study).path}/figures/{quote(name)}.{quote(format)}"
        return self._drawn(path, {}, on_wait)

    def curves(self, name: Named, **options: Any) -> Item:
        """Learning curves: of a study each variant's mean over seeds, of a job validation and training.

        Options: `metric` (val_accuracy, val_loss, train_accuracy, train_loss), `x` (epoch or step).
        """
        return as_mapping(self._http.get(f"{Reference.parse(name).path}/curves", **options))

    def curves_picture(
        self,
        name: Named,
        format: str = "png",
        *,
        on_wait: Callable[[], None] | None = None,
        **options: str,
    ) -> bytes:
        """The same as `png`, `svg` or `pdf`; waits until it is drawn."""
        path = f"{Reference.parse(name).path}/curves"
        return self._drawn(path, {**options, "format": format}, on_wait)

    def leaderboard(self, **filters: Any) -> list[Item]:
        """The best specs on validation; filters: project, dataset, metric, limit (per dataset and task)."""
        return list(self._http.items("leaderboard", most=10_000, **filters))

    def epochs(self, job: Named) -> "pandas.DataFrame":
        """The learning curve: one row per evaluation period."""
        return frame(flatten(row) for row in self.part(job, "epochs"))

    def part(self, name: Named, what: str, **parameters: Any) -> list[Item]:
        """All of a job's `epochs`, `attempts`, `files`, `checkpoints`, `transitions`, `logs` or `diagnostics`."""
        return list(self._http.items(f"{Reference.parse(name).path}/{what}", **parameters))

    def download(self, name: Named, file: str, target: Path) -> None:
        self.download_path(f"{Reference.parse(name).path}/files/{quote(file)}", target)

    def download_path(self, path: str, target: Path) -> None:
        """The bytes at any address below /api/v1."""
        self._http.download(path, target)

    def _document(self, study: Named, part: str, **parameters: str | None) -> bytes:
        path = f"{Reference.study(study).path}/{part}"
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._http.request("GET", path, again=True, params=given).content

    def _drawn(
        self, path: str, parameters: Mapping[str, str], on_wait: Callable[[], None] | None
    ) -> bytes:
        """What is drawn, however long it takes; the service gives up by itself, with a problem."""
        answer = self._http.request("GET", path, again=True, params=parameters)
        # The address of the rendering, not the report's own: while the study changes, each request for the
        # report would start another rendering.
        while answer.status_code == HTTPStatus.ACCEPTED:
            if on_wait:
                on_wait()
            time.sleep(retry_after(answer.headers, _DRAWING_PAUSE))
            there = answer.headers["Location"].removeprefix(PREFIX).lstrip("/")
            try:
                answer = self._http.request("GET", there, again=True)
            except Refused as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                # The study has changed, or the service was started again: what is there now.
                answer = self._http.request("GET", path, again=True, params=parameters)
        return answer.content


def _number(study: Named | None) -> int | None:
    return None if study is None else Reference.study(study).id


def _sent(asked: SideBySide) -> Item:
    by, studies = asked.get("by"), asked.get("studies") or ()
    return {
        **asked,
        "by": ",".join(_names(by)) if by is not None else None,
        "studies": [Reference.study(one).id for one in studies] or None,
    }


def _names(names: Sequence[str]) -> list[str]:
    """Each once; a text is a list with commas."""
    parts = names.split(",") if isinstance(names, str) else names
    return list(dict.fromkeys(part.strip() for part in parts))


def as_mapping(answer: Any) -> Item:
    if not isinstance(answer, dict):
        raise NormlabError(f"the service answered {answer!r:.80}; check NORMLAB_URL")
    return answer
