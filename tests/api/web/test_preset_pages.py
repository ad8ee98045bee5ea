"""The pages of presets: the catalogue with what came out here, one preset, its run form; and a study's own figure."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage
from store.db.models import Study
from store.studies import verdicts
from studies.presets import find_preset, presets
from tests.api.web.test_pages import read
from tests.support.documents import study
from tests.support.sketches import Sketcher
from tests.support.trained_study import train_all
from worker.sweep.verdicts import judge_ended

NAME = "batch-size-sensitivity"
#: Of few jobs.
SMALL = "early-stopping"
Sessions = sessionmaker[Session]
FIGURE = [{"panel": "curves", "column": "val_loss", "title": "Losses"}]


def run_preset(client: TestClient, name: str = NAME, **wanted: Any) -> int:
    answer = client.post(f"/api/v1/presets/{name}/runs", json={"scale": "toy", **wanted})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["id"])


def test_the_catalogue_lists_every_preset_once(viewer: TestClient) -> None:
    page = read(viewer, "/presets")
    for name, preset in presets().items():
        assert page.count(f'href="/presets/{name}"') == 1
        assert preset.title in page.replace("&#39;", "'")
    assert page.count("Not run here yet.") == len(presets())
    assert page.index("underfit-overfit-regression") < page.index("dropout-features")


def test_the_catalogue_says_what_came_out_here(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = run_preset(member, SMALL)
    assert f'Newest run, without verdicts yet: <a href="/studies/{made}">' in read(
        member, "/presets"
    )
    train_all(sessions, storage)
    judge_ended(sessions, FolderStorage(storage), Sketcher())
    page = read(member, "/presets")
    assert f'Newest run with verdicts: <a href="/studies/{made}">' in page
    claims = len(find_preset(SMALL).study_spec("toy").claims)
    assert page.count('class="undecided"') == claims


def test_the_run_that_says_most_is_the_newest_judged_one_beyond_toys(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    first, second = run_preset(member, SMALL), run_preset(member, SMALL)
    train_all(sessions, storage)
    judge_ended(sessions, FolderStorage(storage), Sketcher())
    unjudged = run_preset(member, SMALL)

    def newest() -> int:
        with sessions.begin() as session:
            return verdicts.newest_runs(session)[SMALL].id

    assert newest() == second
    with sessions.begin() as session:
        for made, scale in ((first, "small"), (unjudged, "small")):
            row = session.scalars(select(Study).where(Study.id == made)).one()
            row.preset = {**(row.preset or {}), "scale": scale}
    assert newest() == first
    member.patch(f"/api/v1/studies/{first}", json={"archived": True})
    assert newest() == second


def test_a_preset_shows_its_claims_margins_caveats_and_scales(viewer: TestClient) -> None:
    preset = find_preset(NAME)
    page = read(viewer, f"/presets/{NAME}").replace("&#39;", "'")
    for claim in preset.study_spec("small").claims:
        assert claim.says in page
    assert re.search(r"<td>\d+\.\d\d points</td>", page)
    for caveat in preset.caveats:
        assert caveat in page
    for scale, size in preset.scales.items():
        assert f"<strong>{scale}</strong> on {next(iter(size.datasets))}" in page
        assert size.takes in page
    assert f"{preset.cells('toy')} jobs on" in page
    assert "It has not been run here yet." in page


@pytest.mark.parametrize("path", ["/presets", "/presets/iterations"])
def test_the_claims_are_those_that_the_run_was_asked(member: TestClient, path: str) -> None:
    """Another scale says something else under the same name."""
    assert "One epoch has a higher test error than ten" in read(member, path)
    run_preset(member, "iterations", scale="medium", dataset="digits")
    page = read(member, path)
    assert "One epoch has a higher test error than three" in page
    assert "One epoch has a higher test error than ten" not in page


def test_every_preset_has_a_page(member: TestClient) -> None:
    for name in presets():
        page = read(member, f"/presets/{name}")
        assert f'data-create="/api/v1/presets/{name}/runs"' in page
        assert f'href="/submit?preset={name}"' in page


def test_a_viewer_is_offered_no_run(viewer: TestClient) -> None:
    page = read(viewer, f"/presets/{NAME}")
    assert "data-create" not in page
    assert "<button" not in page.split("<main")[1]


def test_a_dataset_that_is_missing_is_said_before_the_button(member: TestClient) -> None:
    page = read(member, f"/presets/{NAME}").replace("&#34;", '"').replace("&amp;", "&")
    missing = page.index("<strong>cifar10</strong> is not registered here")
    assert missing < page.index('<button type="submit">Run')
    command = "normlab dataset add cifar10 hugging_face:uoft-cs/cifar10@0b2714987fa478483af9968de7c934580d0bb9a2 --image img --wait"
    assert f"<code>{command}</code>" in page
    [link] = re.findall(r'href="(/datasets\?name=cifar10[^"]*)#register"', page)
    form = read(member, link)
    for value in ("cifar10", "uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2", "img"):
        assert f'value="{value}"' in form
    # Chosen is what can be run; what can't be isn't offered.
    [chosen] = re.findall(r'data-document="(\{[^}]*\})" checked', page)
    assert chosen == '{"scale":"small","dataset":"digits"}'
    assert re.search(r'"dataset":"cifar10"\}" disabled', page)


def test_an_unknown_preset_is_a_page_that_leads_on(member: TestClient) -> None:
    answer = member.get("/presets/norm-compared")
    assert answer.status_code == 404
    assert "did you mean" in answer.text


def test_a_preset_shows_its_runs_and_what_people_write_is_text(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = run_preset(member, seeds=[7], project="mine")
    with sessions.begin() as session:
        row = session.scalars(select(Study).where(Study.id == made)).one()
        row.preset = {**(row.preset or {}), "dataset": "<script>", "digest": "old"}
    page = read(member, f"/presets/{NAME}")
    assert f'<a href="/studies/{made}">s{made}</a>' in page
    assert "other seeds" in page
    assert "earlier version" in page
    assert "<td>&lt;script&gt;</td>" in page


def test_a_study_that_has_ended_shows_its_own_figure_in_room_that_was_kept(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    made = member.post("/api/v1/studies", json=study(figure=FIGURE)).json()["id"]
    queued = read(member, f"/studies/{made}")
    # Machines are for training: nothing is drawn of it by itself.
    assert "<img" not in queued
    assert "There is nothing to draw yet" in queued
    train_all(sessions, storage)
    page = read(member, f"/studies/{made}")
    [picture] = re.findall(r"<img [^>]*>", page)
    assert re.search(rf'src="/api/v1/studies/{made}/figures/figure.png\?ended=\d+"', picture)
    assert 'loading="lazy"' in picture
    assert 'alt="norms: Losses"' in picture
    width, height = (
        int(re.findall(rf'{name}="(\d+)"', picture)[0]) for name in ("width", "height")
    )
    content = member.get(f"/api/v1/studies/{made}/figures/figure.png").content
    drawn = [int.from_bytes(content[at : at + 4]) for at in (16, 20)]
    assert drawn[0] / drawn[1] == pytest.approx(width / height, rel=0.01)
    for format in ("png", "svg", "pdf"):
        assert f'href="/api/v1/studies/{made}/figures/figure.{format}"' in page
    # With more to come, what would be drawn isn't final.
    member.post(f"/api/v1/studies/{made}/extend", json={"seeds": 1})


def test_a_study_of_a_preset_leads_to_it_and_a_plain_one_has_no_figure(member: TestClient) -> None:
    made = run_preset(member)
    assert f'<a href="/presets/{NAME}">' in read(member, f"/studies/{made}")
    plain = member.post("/api/v1/studies", json=study()).json()["id"]
    assert 'id="figure"' not in read(member, f"/studies/{plain}")
