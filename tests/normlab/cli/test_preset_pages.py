"""The pages of `normlab preset all`: what was found, beside what the literature says and what was changed."""

from pathlib import Path
from typing import Any

import pytest

from normlab.cli.render.preset_pages import (
    Entry,
    find_others,
    start_all,
    write_markdown,
    write_pages,
)
from normlab.client.client import Client
from normlab.client.ids import Reference

CHANGE = {"what": "more seeds", "why": "too few | to tell", "digest": "feed"}
PRESET: dict[str, Any] = {
    "name": "lrn",
    "title": "Does it <help>?",
    "topic": "local response norm",
    "paper": "Krizhevsky et al. 2012",
    "text": "Two networks\nare trained.",
    "caveats": ["Small images."],
    "measured": "",
    "digest": "feed",
    "first_run": "beef",
    "changes": [CHANGE],
    "scales": [{"scale": "small", "datasets": ["digits", "mnist"], "digest": "feed"}],
}
RUN = {"scale": "small", "dataset": "digits", "digest": "feed"}
STUDY = {
    "id": 7,
    "status": "succeeded",
    "preset": {**RUN, "name": "lrn"},
    "planned_seeds": list(range(10)),
}
VERDICT = {
    "name": "it-helps",
    "says": "It lowers the error",
    "verdict": "does not hold",
    "sentence": "Does not hold: 3.0 % to 2.0 %.",
    "paper": "by 1.4 points",
}


class Service(Client):
    """Answers of a service that has run the preset, or has not; what was submitted is remembered."""

    def __init__(
        self,
        *,
        status: str | None = "succeeded",
        digest: str = "feed",
        dataset: str = "digits",
        own_seeds: bool = False,
    ) -> None:
        self.status = status
        self.run = {"scale": "small", "dataset": dataset, "digest": digest, "own_seeds": own_seeds}
        self.submitted: list[tuple[str, str | None]] = []

    def presets(self) -> list[dict[str, Any]]:
        return [PRESET]

    def items(self, path: str, **parameters: Any) -> Any:
        assert path == "presets/lrn/runs"
        study = {"id": 7, "status": self.status}
        return iter([] if self.status is None else [{**self.run, "study": study}])

    def run_preset(self, name: str, *, scale: str, **more: Any) -> Reference:
        self.submitted.append((name, scale))
        return Reference("study", 8)

    def report(self, reference: Reference, *more: Any, **parameters: Any) -> bytes:
        return b"<!doctype html>"

    def get(self, path: str, **parameters: Any) -> Any:
        return {"figures": [{"name": "figure", "missing_reason": None}]}

    def figure(self, reference: Reference, name: str) -> bytes:
        return b"png"

    def preset(self, name: str, *more: Any, **parameters: Any) -> Any:
        assert name == "lrn"
        return PRESET

    def show(self, reference: Reference) -> Any:
        return STUDY

    def verdicts(self, reference: Reference) -> Any:
        return [VERDICT]


@pytest.mark.parametrize("status", ["queued", "running", "succeeded"])
def test_what_has_run_or_is_under_way_is_not_run_again(status: str) -> None:
    service = Service(status=status)
    assert start_all(service, "small") == {"lrn": Reference("study", 7)}
    assert service.submitted == []


@pytest.mark.parametrize(
    "service",
    [
        Service(status=None),
        Service(status="cancelled"),
        Service(digest="beef"),
        Service(own_seeds=True),
    ],
    ids=["never", "cancelled", "changed", "on other seeds"],
)
def test_what_has_not_run_as_it_is_now_is_submitted(service: Service) -> None:
    assert start_all(service, "small") == {"lrn": Reference("study", 8)}
    assert service.submitted == [("lrn", "small")]


def test_a_run_on_other_data_stands_beside_the_default_one() -> None:
    assert find_others(Service(), "small") == {}
    assert find_others(Service(dataset="mnist"), "small") == {"lrn-mnist": Reference("study", 7)}
    assert find_others(Service(dataset="mnist", status="cancelled"), "small") == {}


def test_a_scale_that_a_preset_lacks_is_left_out() -> None:
    assert start_all(Service(), "full") == {}


def test_the_index_shows_verdict_figure_and_change_with_words_as_words(tmp_path: Path) -> None:
    (entry,) = write_pages(Service(), {"lrn": Reference("study", 7)}, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert entry.name == "lrn"
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        "index.html",
        "lrn.html",
        "lrn.png",
    }
    assert "Does it &lt;help&gt;?" in page
    assert '<td class="does-not-hold">does not hold</td>' in page
    assert "<li>Small images.</li>" in page
    assert "Changed since its first run: more seeds, because too few | to tell." in page


def test_the_markdown_has_topic_figure_verdict_change_and_caveat(tmp_path: Path) -> None:
    entry = Entry("lrn", PRESET, STUDY, [VERDICT], has_figure=True)
    write_markdown([entry], tmp_path / "lectures.md", tmp_path / "lectures")
    text = (tmp_path / "lectures.md").read_text()
    assert "| local response norm | [lrn](#lrn) | it-helps: does not hold |" in text
    assert "![Does it <help>?](lectures/lrn.png)" in text
    assert (
        "| It lowers the error | **does not hold** | Does not hold: 3.0 % to 2.0 %. | by 1.4 points |"
        in text
    )
    assert "It first ran as beef, and was changed since:" in text
    assert "- more seeds: too few \\| to tell (digest feed)." in text
    assert "- Small images." in text
    assert "\n- \n" not in text


def test_sections_of_other_presets_and_scales_stay_in_the_markdown(tmp_path: Path) -> None:
    page, figures = tmp_path / "lectures.md", tmp_path / "lectures"
    entries = [
        Entry(name, PRESET, STUDY, [VERDICT], has_figure=False)
        for name in ("augmentation", "lrn", "norms")
    ]
    write_markdown(entries, page, figures)
    before = page.read_text()
    write_markdown(entries[2:], page, figures)
    assert page.read_text() == before
    ran = {**STUDY, "preset": {**STUDY["preset"], "scale": "medium", "dataset": "mnist"}}
    held = {**VERDICT, "verdict": "holds"}
    scales = [
        {"scale": "medium", "takes": "10,000 images", "datasets": ["mnist"], "digest": "feed"}
    ]
    preset = {**PRESET, "scales": scales}
    write_markdown([Entry("lrn-medium", preset, ran, [held], has_figure=False)], page, figures)
    text = page.read_text()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## augmentation", "## lrn", "## lrn-medium", "## norms"]
    assert "| [lrn-medium](#lrn-medium) | it-helps: holds |" in text
    assert "Run s7 at scale medium on mnist, 10 seeds" in text
    assert "Scale medium: 10,000 images." in text
    assert text.count("it-helps: does not hold |") == 3
