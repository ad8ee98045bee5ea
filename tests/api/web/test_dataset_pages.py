"""The pages of datasets: the list with its form, one dataset, and pictures that are as large as the page expects."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from api.web import pictures
from api.web.catalog.datasets import FIRST
from store.catalog import datasets
from store.jobs import commands
from tests.api.web.test_pages import read
from tests.support.factories import acquire_job, make_info, make_worker
from tests.support.trained_study import train_all
from trainer.spec import RecordEntry
from trainer.spec.builtin import BUILT_IN

Sessions = sessionmaker[Session]


@pytest.fixture
def flowers(data_root: Path) -> dict[str, Any]:
    source = {"kind": "image_folder", "path": str(data_root / "<b>flowers"), "size": 32}
    return {"name": "flowers", "source": source}


def register(client: TestClient, document: dict[str, Any]) -> int:
    answer = client.post("/api/v1/datasets", json=document)
    assert answer.status_code == 202, answer.text
    return int(answer.json()["job_id"])


def size_of(page: str, source: str) -> tuple[int, int]:
    [picture] = [one for one in re.findall(r"<img [^>]*>", page) if source in one]
    width, height = (re.findall(rf'{name}="(\d+)"', picture)[0] for name in ("width", "height"))
    return int(width), int(height)


def test_the_list_has_what_is_built_in_and_what_was_registered(
    member: TestClient, sessions: Sessions, storage: Path, flowers: dict[str, Any]
) -> None:
    job = register(member, flowers)
    page = read(member, "/datasets")
    for name in (*BUILT_IN, "flowers"):
        assert f'<a href="/datasets/{name}">{name}</a>' in page
    assert f'registering</span> <a class="small" href="/jobs/{job}">' in page
    assert f'data-jobs="[{job}]"' in page
    train_all(sessions, storage)
    page = read(member, "/datasets")
    assert page.count(">ready</span>") == len(BUILT_IN) + 1
    assert 'data-jobs="[]"' in page


def test_a_list_is_paged(member: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.web.catalog.datasets.PAGE", 4)
    [older] = re.findall(r'rel="next" href="([^"]+)"', read(member, "/datasets"))
    second = read(member, older.replace("&amp;", "&"))
    assert second.count('<th scope="row">') == len(BUILT_IN) - 4
    assert 'rel="next"' not in second


def test_only_who_may_register_is_offered_the_form(
    member: TestClient, viewer: TestClient, data_root: Path
) -> None:
    form = read(member, "/datasets")
    assert 'data-create="/api/v1/datasets"' in form
    assert f"<code>{data_root}</code>" in form
    assert "data-create" not in read(viewer, "/datasets")


def test_what_is_in_a_dataset_and_where_it_goes_from_here(
    viewer: TestClient, member: TestClient
) -> None:
    page = read(member, "/datasets/digits")
    assert BUILT_IN["digits"].digest in page
    assert "8 × 8, grey" in page
    assert "1,797, including the examples that are split off for validation and test" in page
    assert '<li>3 <span class="small">183</span></li>' in page
    assert "nothing was left out" in page
    assert 'href="/submit?dataset=digits"' in page
    assert "/submit?" not in read(viewer, "/datasets/digits")
    [query] = re.findall(r'href="/results\?query=([^"]+)"', page)
    assert "dataset.name = &#39;digits&#39;" in read(member, f"/results?query={query}")


def test_what_was_left_out_comes_first_with_its_reason(
    member: TestClient, sessions: Sessions, flowers: dict[str, Any]
) -> None:
    register(member, flowers)
    record = (
        RecordEntry(action="taken", what="folders as classes", count=2),
        RecordEntry(
            action="skipped",
            what="images",
            count=3,
            why="they can't be read",
            examples=("<i>.png",),
        ),
    )
    with sessions.begin() as session:
        dataset = datasets.find(session, "flowers")
        assert dataset is not None
        info = make_info("flowers").model_copy(update={"record": record})
        datasets.mark_ready(session, dataset.id, info)
    page = read(member, "/datasets/flowers")
    assert page.index("they can&#39;t be read") < page.index("folders as classes")
    assert "&lt;i&gt;.png" in page
    assert "<i>.png" not in page
    assert "<b>flowers" not in page


def test_a_dataset_that_is_being_registered_says_how_far_it_is(
    member: TestClient, sessions: Sessions, flowers: dict[str, Any]
) -> None:
    job = register(member, flowers)
    page = read(member, "/datasets/flowers")
    assert "Waiting to be registered" in page
    assert f'data-jobs="[{job}]"' in page
    with sessions.begin() as session:
        make_worker(session)
        assignment = acquire_job(session)
        assert assignment is not None
        commands.record_log(session, job, assignment.attempt, [("info", "read 40 of 100 files")])
    page = read(member, "/datasets/flowers")
    assert "Being registered" in page
    assert "read 40 of 100 files" in page
    assert "<img" not in page
    # The job has a page, too.
    page = read(member, f"/jobs/{job}")
    assert "register flowers" in page
    assert not any(one in page for one in ("Learning curves", "data-curves", "uPlot"))


def test_a_dataset_that_failed_says_why_and_what_to_do(
    member: TestClient, viewer: TestClient, flowers: dict[str, Any]
) -> None:
    job = register(member, flowers)
    member.post(f"/api/v1/jobs/{job}/cancel")
    page = read(member, "/datasets/flowers")
    assert "its registration was cancelled" in page
    assert f'data-post="/api/v1/jobs/{job}/retry"' in page
    [again] = re.findall(r'href="(/datasets\?[^"#]*)#register"', page)
    form = read(member, again.replace("&amp;", "&"))
    assert '<option value="image_folder" selected>' in form
    assert form.count('name="source.size" type="number" value="32"') == 2
    assert "&lt;b&gt;flowers" in form
    assert "data-post" not in read(viewer, "/datasets/flowers").split("<main")[1]
    assert "its registration was cancelled" in read(member, "/datasets")


def test_a_dataset_of_vectors_has_no_broken_pictures(member: TestClient) -> None:
    for name, said in (("moons", "2 numbers"), ("polynomial_noise", "a number to predict")):
        page = read(member, f"/datasets/{name}")
        assert said in page
        assert "<img" not in page


def test_a_class_s_pictures_fill_the_room_that_was_kept(member: TestClient) -> None:
    page = read(member, "/datasets/digits")
    [address] = re.findall(r'src="(/api/v1/datasets/digits/pictures[^"]*)"', page)
    content = member.get(address.replace("&amp;", "&")).content
    with Image.open(io.BytesIO(content)) as image:
        width, height = size_of(page, "/pictures")
        assert image.height == height
        # Names are as wide as their font makes them.
        assert abs(image.width - width) < 30


def test_an_augmented_batch_is_chosen_by_the_address(member: TestClient) -> None:
    page = read(member, "/datasets/digits?augmentation=rotate&augmentation=flip&seed=3")
    assert len(re.findall(r'value="(?:rotate|flip)" checked', page)) == 2
    [address] = re.findall(r'src="(/datasets/digits/augmented[^"]*)"', page)
    assert (
        address == "/datasets/digits/augmented?augmentation=rotate&amp;augmentation=flip&amp;seed=3"
    )
    assert 'href="?augmentation=rotate&amp;augmentation=flip&amp;seed=4#augmented"' in page
    answer = member.get(address.replace("&amp;", "&"))
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == size_of(page, "/augmented")
    # Nothing may be chosen, too; until something is, a few are.
    assert "checked" not in read(member, "/datasets/digits?seed=3")
    assert read(member, "/datasets/digits").count(" checked") == len(FIRST)
    plain = member.get("/datasets/digits/augmented?seed=3").content
    assert plain != answer.content


@pytest.mark.parametrize("kind", list(pictures.augmentations()))
def test_every_augmentation_of_the_catalogue_can_be_shown(kind: str) -> None:
    chosen = pictures.augmentations()[kind]
    preview = pictures.make_preview(BUILT_IN["digits"], [chosen], 0)
    assert [one.kind for one in preview.augmentation] == [kind]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("digits/augmented?augmentation=rotat", 422, "did you mean"),
        ("moons/augmented", 409, "has vectors"),
        ("nothing/augmented", 404, "no dataset named"),
    ],
)
def test_a_batch_that_cannot_be_drawn_says_why_in_json(
    member: TestClient, path: str, status: int, says: str
) -> None:
    answer = member.get(f"/datasets/{path}")
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_an_unknown_dataset_is_a_page_that_leads_on(member: TestClient) -> None:
    answer = member.get("/datasets/digit")
    assert answer.status_code == 404
    assert "did you mean" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
