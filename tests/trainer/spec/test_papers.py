"""The paper that a technique's spec names is named where the technique is implemented, with its arXiv id."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from trainer.spec import (
    AugmentationSpec,
    NormSpec,
    OptimizerSpec,
    RegularizerSpec,
    ScheduleSpec,
    StoppingSpec,
    WeightsSpec,
)

TRAINER = Path(__file__).parents[3] / "trainer"
ROOMS = ("data/augmentation", "evaluation", "layers", "optimization", "surgery")

#: Authors and year, as both places write them.
PAPER = r"[A-Z]\w+ (?:et al\. |& [A-Z]\w+ )?(?:18|19|20)\d\d"
ARXIV = r"arXiv \d{4}\.\d{4,5}"

#: What has no single paper.
WITHOUT = {
    "none", "plain", "l2", "sgd", "constant", "step", "patience",
    "rotate", "flip", "scale", "shift", "contrast", "brightness",
}  # fmt: skip


def techniques(*unions: Any) -> dict[str, type]:
    """The classes of these unions of specs, by kind."""
    classes = [one for union in unions for one in get_args(get_args(union)[0])]
    return {one.model_fields["kind"].annotation.__args__[0]: one for one in classes}


def flat(text: str) -> str:
    """As one line, so that no line break parts an author from a year."""
    return re.sub(r"\s+(?:# )?", " ", text)


def cited(kind: type) -> set[str]:
    """Papers with their arXiv ids where they have one, in the docstring of a spec."""
    return set(re.findall(f"{PAPER}(?:, {ARXIV})?", flat(kind.__doc__ or "")))


TECHNIQUES = techniques(
    NormSpec, WeightsSpec, RegularizerSpec, AugmentationSpec, OptimizerSpec, ScheduleSpec, StoppingSpec
)  # fmt: skip
IMPLEMENTED = flat(
    " ".join(path.read_text() for room in ROOMS for path in sorted((TRAINER / room).glob("*.py")))
)


@pytest.mark.parametrize("kind", TECHNIQUES)
def test_a_technique_is_implemented_beside_its_paper(kind: str) -> None:
    papers = cited(TECHNIQUES[kind])
    assert papers or kind in WITHOUT
    assert [paper for paper in papers if paper not in IMPLEMENTED] == []


@pytest.mark.parametrize(
    "kind", sorted(techniques(NormSpec, WeightsSpec).keys() - {"none", "plain", "lrn"})
)
def test_a_norm_has_an_arxiv_id_in_its_spec(kind: str) -> None:
    assert any(re.search(ARXIV, paper) for paper in cited(TECHNIQUES[kind]))
