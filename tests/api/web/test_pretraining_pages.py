"""What pages show of a study that pretrains."""

import html
import re
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from tests.api.routes.test_pretraining import document, pretrain_all
from tests.api.web.test_results import text_of
from tests.support.submissions import submit

Sessions = sessionmaker[Session]


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_study_says_how_many_there_are_and_lists_them(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    study = submit(member, document(), "studies")["id"]
    assert "0 of 2 pretrainings" in read(member, f"/studies/{study}")
    pretrain_all(sessions, storage, study)
    page = read(member, f"/studies/{study}")
    assert "2 of 2 pretrainings" in page
    [address] = re.findall(r'<a href="([^"]+)">2 more jobs are pretrainings</a>', page)
    listing = read(member, html.unescape(address))
    assert listing.count('<span class="status succeeded">') == 2
    assert listing.count('<span class="status queued">') == 0


def test_a_pretraining_says_what_it_is_and_an_arm_what_it_begins_with(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    study = submit(member, document(), "studies")["id"]
    pretrain_all(sessions, storage, study)
    jobs = member.get(f"/api/v1/studies/{study}/jobs").json()["items"]
    source, arm = jobs[-1]["id"], jobs[0]
    page = text_of(read(member, f"/jobs/{source}"))
    assert "A pretraining of norms" in page
    assert "baseline" not in page
    begun = arm["spec"]["init_from"]["job"]
    assert f"Starts from the best weights of job {begun}" in text_of(
        read(member, f"/jobs/{arm['id']}")
    )


def test_a_document_is_planned_with_its_pretrainings(member: TestClient) -> None:
    answer = member.post("/api/v1/plans", json=document())
    assert answer.status_code == 200, answer.text
    assert answer.json()["pretrainings"] == 2
