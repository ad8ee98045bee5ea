"""What `normlab dataset` says: contents, record, outcome, progress; and small pictures in a terminal."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from normlab.cli import datasets
from normlab.cli.datasets import app
from normlab.cli.render import patience
from normlab.cli.render.datasets import MOST_CLASSES, say_outcome, show_dataset
from normlab.cli.render.thumbnails import show_thumbnails

RECORD = [
    {"action": "taken", "what": "file train.parquet as train", "count": 120, "why": None, "examples": ["train.parquet"]},
    {"action": "mapped", "what": "labels 1 to 4 to classes 0 to 3", "count": 120, "why": "class numbers have no gaps", "examples": ["1 to 0", "2 to 1"]},
    {"action": "skipped", "what": "the test split", "count": 40, "why": "none of its examples has a label", "examples": []},
    {"action": "skipped", "what": "files that are no images", "count": 7, "why": None, "examples": [".DS_Store", "Thumbs.db"]},
]  # fmt: skip
INFO = {
    "name": "shapes",
    "digest": "abc",
    "content": "images",
    "target": "class",
    "shape": [3, 16, 16],
    "classes": ["circle", "cross", "square"],
    "train_size": 1120,
    "test_size": None,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "class_counts": [1000, 80, 40],
    "record": RECORD,
}
SHAPES = {
    "name": "shapes",
    "owner": "ada",
    "status": "ready",
    "source": {
        "kind": "parquet",
        "path": "/data/shapes",
        "size": 16,
        "configuration": None,
        "unreadable": "refuse",
    },
    "info": INFO,
    "error": None,
    "job_id": 7,
    "created_at": "2026-01-01T00:00:00Z",
}
FAILED = {**SHAPES, "status": "failed", "info": None, "error": "image 3 of train\nis empty"}


class Service:
    """Stands for the client: one dataset, and the states of the job that registers it."""

    def __init__(
        self, dataset: dict[str, Any], states: Sequence[str] = (), said: Sequence[str] = ()
    ) -> None:
        self.dataset_item, self.added = dataset, {}
        self.states, self.said = list(states), list(said)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_dataset(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        self.added = source
        return {**self.dataset_item, "status": "registering"}

    def dataset(self, name: str) -> dict[str, Any]:
        return self.dataset_item

    def datasets(self) -> list[dict[str, Any]]:
        return [self.dataset_item]

    def show(self, job: Any) -> dict[str, Any]:
        state = self.states.pop(0) if self.states else "succeeded"
        return {"status": state, "attempt": int(state != "queued")}

    def part(self, job: Any, what: str, after: int) -> list[dict[str, Any]]:
        assert what == "logs"
        return [{"id": after + 1, "text": self.said.pop(0)}] if self.said else []

    def class_pictures(self, name: str, **options: Any) -> bytes:
        return b"a picture"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Service]:
    def serve(*arguments: Any) -> Service:
        service = Service(*arguments)
        monkeypatch.setattr(datasets, "Client", lambda: service)
        monkeypatch.setattr("time.sleep", lambda _: None)
        return service

    return serve


def test_a_dataset_is_shown_with_the_counts_of_its_classes_and_its_record(capsys) -> None:
    show_dataset(SHAPES)
    lines = capsys.readouterr().out.splitlines()
    assert "source    parquet /data/shapes (size=16)" in lines
    assert "train     1,120 (test and validation are split off)" in lines
    assert "  circle  1,000   cross  80       square  40" in lines
    assert lines[-4:] == [
        "  taken     file train.parquet as train: 120 (train.parquet)",
        "  mapped    labels 1 to 4 to classes 0 to 3: 120; class numbers have no gaps (such as 1 to 0, 2 to 1)",
        "  skipped   the test split: 40; none of its examples has a label",
        "  skipped   files that are no images: 7 (such as .DS_Store, Thumbs.db)",
    ]


def test_a_dataset_of_an_earlier_version_is_shown_without_counts(capsys) -> None:
    show_dataset({**SHAPES, "info": {**INFO, "class_counts": None, "record": []}})
    out = capsys.readouterr().out
    assert "3 classes\n  circle   cross    square" in out
    assert "No record: it was registered before" in out


def test_of_very_many_classes_the_rest_is_counted(capsys) -> None:
    many = [f"class {number}" for number in range(MOST_CLASSES + 900)]
    counts = [*range(5, 5 + len(many))]
    show_dataset({**SHAPES, "info": {**INFO, "classes": many, "class_counts": counts}})
    out = capsys.readouterr().out
    assert "960 classes" in out
    assert "… and 900 more; all have 5 to 964 (-o json lists them)" in out


def test_what_was_taken_for_a_reason_is_part_of_the_outcome(capsys) -> None:
    taken = {"action": "taken", "what": "file eval.parquet as test", "count": 40}
    record = [{**taken, "why": "there is no test split"}, {**taken, "what": "file train.parquet"}]
    many = [f"class {number}" for number in range(12)]
    info = {**INFO, "classes": many, "class_counts": [40] * 12, "record": record}
    say_outcome({**SHAPES, "info": info})
    out = capsys.readouterr().out
    assert "class 9, … 2 more, with 40 training examples each\n" in out
    assert out.endswith("taken     file eval.parquet as test: 40; there is no test split\n")


def test_the_outcome_names_splits_classes_and_all_that_was_not_simply_taken(capsys) -> None:
    say_outcome({**SHAPES, "info": {**INFO, "test_size": 40}})
    assert capsys.readouterr().out.splitlines() == [
        "images    16×16, colour",
        "train     1,120 (validation is split off)",
        "test      40 (the dataset's own test split)",
        "classes   3: circle (1,000), cross (80), square (40)",
        "mapped    labels 1 to 4 to classes 0 to 3: 120; class numbers have no gaps (such as 1 to 0, 2 to 1)",
        "skipped   the test split: 40; none of its examples has a label",
        "skipped   files that are no images: 7 (such as .DS_Store, Thumbs.db)",
    ]


def test_every_option_of_a_source_has_a_flag(serve: Callable[..., Service]) -> None:
    service = serve(SHAPES)
    arguments = (
        "add shapes parquet:/data --size 16 --background #ff0000 --skip-unreadable --skip-unlabelled "
        "--image img --label y --configuration small"
    )
    done = CliRunner().invoke(app, arguments.split())
    assert done.exit_code == 0, done.output
    assert service.added == {
        "kind": "parquet", "path": "/data", "size": 16, "background": "#ff0000", "unreadable": "skip",
        "unlabelled": "skip", "image": "img", "label": "y", "configuration": "small",
    }  # fmt: skip
    assert "follow its progress with: normlab dataset show shapes" in done.output
    CliRunner().invoke(app, ["add", "f", "image_folder:/data", "--layout", "classes"])
    assert service.added == {"kind": "image_folder", "path": "/data", "layout": "classes"}
    drawn = ["add", "m", "generated:moons", "--size", "50", "--noise", "0.1", "--seed", "3"]
    CliRunner().invoke(app, drawn)
    assert service.added == {
        "kind": "generated", "generator": "moons", "size": 50, "noise": 0.1, "seed": 3,
    }  # fmt: skip


def test_while_it_waits_it_says_how_far_it_is_and_then_what_came_out(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LINE_SECONDS", 0.0)
    said = ["found 1120 train images in [/data]", "decoded 1000 of 1120 train images"]
    serve(SHAPES, ["queued", "running", "running", "succeeded"], said)
    done = CliRunner().invoke(app, ["add", "shapes", "parquet:/data", "--wait"])
    assert done.exit_code == 0, done.output
    assert [line.rpartition(" … ")[0] for line in done.stderr.splitlines()] == [
        "waiting for a worker",
        "found 1120 train images in [/data]",
        "decoded 1000 of 1120 train images",
    ]
    assert done.stdout.splitlines()[:2] == ["Dataset shapes is ready", "images    16×16, colour"]
    assert "skipped   the test split: 40" in done.output


def test_a_failed_registration_is_told_in_words_by_every_command(
    serve: Callable[..., Service],
) -> None:
    serve(FAILED, ["failed"])
    done = CliRunner().invoke(app, ["add", "shapes", "parquet:/data", "--wait"])
    assert str(done.exception) == (
        "dataset shapes could not be registered: image 3 of train\nis empty"
    )
    assert (
        "error     image 3 of train\nis empty" in CliRunner().invoke(app, ["show", "shapes"]).output
    )
    listed = CliRunner().invoke(app, ["list"]).output
    assert "image 3 of train is empty" in " ".join(listed.split())


def test_the_picture_is_saved_where_it_was_asked_for(
    serve: Callable[..., Service], tmp_path
) -> None:
    serve(SHAPES)
    target = tmp_path / "shapes.png"
    done = CliRunner().invoke(app, ["show", "shapes", "--pictures", str(target)])
    assert target.read_bytes() == b"a picture"
    assert f"{target}: images of each class of shapes" in done.output
    without = CliRunner().invoke(app, ["show", "shapes"]).output
    assert "normlab dataset show shapes --pictures shapes.png" in without
    everything = CliRunner().invoke(app, ["show", "shapes", "-o", "json"]).output
    assert json.loads(everything) == SHAPES


def test_small_pictures_have_two_pixels_in_each_character() -> None:
    sheet = Image.new("RGB", (2, 6), "#ff0000")
    sheet.paste("#0000ff", (0, 1, 2, 2))
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    to = Console(file=io.StringIO(), color_system="truecolor", force_terminal=True, width=40)
    show_thumbnails(to, content.getvalue(), ["a", "long name"], rows=3)
    shown = to.file.getvalue()
    red_on_blue = "\x1b[38;2;255;0;0;48;2;0;0;255m▀"
    red_on_red = "\x1b[38;2;255;0;0;48;2;255;0;0m▀"
    assert shown.count(red_on_blue) == 2
    assert shown.count(red_on_red) == 2
    assert "l…" in shown
