"""`normlab compare` of several studies and of groups of jobs, against a service that says what it is told."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from normlab.client.client import Client
from tests.normlab.client.test_reports import run, script, url
from tests.normlab.client.test_transport import Script, client
from tests.support.compared import compare, draw, plant

__all__ = ["client", "script", "url"]


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """As the service makes it."""
    values = {"none": draw(0.8), "batch": draw(0.83)}
    return compare(plant(values)).model_dump(mode="json")


def asked(script: Script) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(script.seen[-1][1])
    return parts.path, parse_qs(parts.query)


def test_groups_of_any_jobs_are_a_sentence_and_a_table(
    url: str, script: Script, tmp_path: Path, answer: dict[str, Any]
) -> None:
    script.say(200, answer)
    done = run(
        url, tmp_path, "compare", "--by", "norm.kind", "--query", "seed<9", "--reference", "none"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert asked(script) == (
        "/api/v1/results/comparison",
        {"by": ["norm.kind"], "query": ["seed<9"], "reference": ["none"]},
    )
    first, _, head, batch, none, _, *rest = done.stdout.decode().splitlines()
    assert first == answer["sentence"]
    assert head.split()[:3] == ["group", "jobs", "best"]
    assert "minus none" in head
    difference = answer["groups"][0]["difference"]["mean"]
    assert batch.split()[:2] == ["batch", "10"]
    assert f"{100 * difference:+.2f}" in batch
    assert batch.rstrip().endswith("better")
    assert none.rstrip().endswith("reference")
    assert " ".join(rest).startswith(answer["rule"][:40])


def test_several_studies_are_compared_by_their_variants(
    url: str, script: Script, tmp_path: Path, answer: dict[str, Any]
) -> None:
    script.say(200, answer)
    done = run(url, tmp_path, "compare", "s3", "s7", "--metric", "best_val_loss", "-o", "json")
    assert done.returncode == 0, done.stderr.decode()
    assert asked(script)[1] == {"studies": ["3", "7"], "metric": ["best_val_loss"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a study, several, or the fields to group jobs by: --by norm.kind"),
        (("s1", "s2", "-o", "latex"), "latex is a format of one study's comparison: use csv"),
        (("s1", "j2"), "j2"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_asked(
    url: str, script: Script, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run(url, tmp_path, "compare", *arguments)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert script.seen == []


def test_the_groups_alone_are_csv(client: Client, script: Script) -> None:
    script.say(200, b"group,jobs\nbatch,10\n")
    assert client.side_by_side_table(by=["norm.kind"]) == "group,jobs\nbatch,10\n"
    assert asked(script)[1] == {"by": ["norm.kind"], "format": ["csv"]}
