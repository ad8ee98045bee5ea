"""`seeds: until decided, at most 40`, in a document and in fields."""

from typing import Any

import pytest

from studies.planning import refuse_between_looks, refuse_undecidable
from studies.spec.expand import expand
from studies.spec.study import StudyError, StudySpec, read_study
from studies.spec.until_decided import choose_looks
from tests.support.result_rows import make_study

SENTENCE = "until decided, at most 40"


def growing(**fields: Any) -> StudySpec:
    return make_study(**{"seeds": SENTENCE, **fields})


def test_the_sentence_declares_looks_and_stays_in_what_is_stored() -> None:
    study = growing()
    assert (study.seeds, study.looks, study.until) == (8, (8, 16, 24, 32, 40), "decided")
    assert (study.spending, study.most_seeds) == ("kim_demets", 40)
    stored = study.model_dump(mode="json")
    assert stored["looks"] == [8, 16, 24, 32, 40]
    assert read_study(stored) == study
    assert len(expand(study)) == 2 * 8


def test_fields_say_the_same() -> None:
    fields = {"seeds": 8, "looks": [8, 16, 24, 32, 40], "until": "decided"}
    assert make_study(**fields) == growing()
    written = growing().model_dump(mode="json")
    del written["seeds"]
    assert read_study(written) == growing()


def test_looks_of_ones_own_end_at_the_most_seeds() -> None:
    study = growing(looks=[10, 40])
    assert (study.seeds, study.looks) == (10, (10, 40))
    with pytest.raises(StudyError, match="the last look must be at 40 seeds"):
        growing(looks=[8, 16])


def test_looks_declared_without_it_keep_their_spending() -> None:
    study = make_study(seeds=8, looks=[8, 16])
    assert (study.until, study.spending, study.most_seeds) == (None, "obrien_fleming", 8)


@pytest.mark.parametrize(
    ("most", "looks"),
    [(9, [8, 9]), (16, [8, 16]), (20, [10, 20]), (24, [8, 16, 24]), (100, [20, 40, 60, 80, 100])],
)
def test_default_looks_are_even_and_few(most: int, looks: list[int]) -> None:
    assert choose_looks(most) == looks


def test_all_default_looks_can_be_taken() -> None:
    for most in range(9, 1001):
        looks = choose_looks(most)
        assert 2 <= len(looks) <= 5
        assert looks == sorted(set(looks))
        assert (looks[0] >= 8, looks[-1]) == (True, most)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seeds": "until decided"}, "must be a number, a list of seeds or 'until decided, at most 40'"),
        ({"seeds": "until decided, at most 8"}, "the maximum must be from 9 to 1000 seeds, but got 8"),
        ({"seeds": "until decided, at most 1001"}, "the maximum must be from 9 to 1000 seeds"),
        ({"seeds": 8, "until": "decided"}, "needs at least two looks"),
        ({"variants": {"none": {}}}, "one variant: there is nothing to decide"),
        ({"tune": {"optimizer.lr": [0.1, 0.2], "seeds": [39]}}, r"both have \[39\]"),
    ],
)  # fmt: skip
def test_what_can_not_grow_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        growing(**fields)


def test_a_metric_that_decides_nothing_is_refused_of_new_studies() -> None:
    with pytest.raises(StudyError, match="neither an accuracy nor a loss"):
        refuse_undecidable(growing(metric="epochs"))
    refuse_undecidable(growing())
    claims = [{"name": "c", "says": "c", "statistic": "test_loss", "rising": ["none", "group"]}]
    refuse_undecidable(growing(metric="epochs", claims=claims))
    refuse_undecidable(make_study(metric="epochs"))


def test_seeds_are_added_beyond_the_largest() -> None:
    seeds = [3, 4, 5, 6, 7, 8, 9, 20]
    study = make_study(seeds=seeds, looks=[8, 10], until="decided")
    assert study.add_seeds(2).seeds == [*seeds, 21, 22]
    assert study.list_all_seeds() == (*seeds, 21, 22)
    assert growing().add_seeds(8).seeds == 16


def test_by_hand_it_is_given_seeds_up_to_a_look_or_beyond_the_last() -> None:
    study = growing()
    for more in (8, 24, 32, 40):
        refuse_between_looks(study.add_seeds(more))
    with pytest.raises(StudyError, match="would make 12 seeds, but the study grows by itself"):
        refuse_between_looks(study.add_seeds(4))
    refuse_between_looks(make_study(seeds=8, looks=[8, 16]).add_seeds(4))
