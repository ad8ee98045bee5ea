"""The verdict: what is found where it is, what isn't claimed where it isn't, and when nobody may say."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from studies.comparison.schemas import Comparison, Difference
from studies.spec.refusals import refuse_unplanned_seeds
from studies.spec.study import StudyError, read_study
from studies.stats.group_sequential import nominal_levels
from studies.stats.inference import seeds_needed
from tests.support.result_rows import alter, change, compare_rows, fake_rows, make_study

FOUR = ("none", "batch", "layer", "group")


def planted(effects: Mapping[str, float], seed: int = 1, **fields: Any) -> Comparison:
    """Of four variants; at this seed chance makes no false claim, as it does in a twentieth of all."""
    study = make_study(FOUR, **fields)
    rows = fake_rows(study, lambda variant, _: 0.9 + effects.get(variant, 0.0), seed=seed)
    return compare_rows(study, rows)


def decisions(compared: Comparison) -> dict[str, str | None]:
    return {one.name: one.difference.decision for one in compared.variants if one.difference}


def difference(compared: Comparison, name: str) -> Difference:
    found = next(one.difference for one in compared.variants if one.name == name)
    assert found is not None
    return found


def test_planted_differences_are_found() -> None:
    compared = planted({"batch": 0.05, "layer": -0.05})
    assert decisions(compared) == {"batch": "better", "layer": "worse", "group": "undecided"}
    assert compared.best is not None
    assert compared.best.name == "batch"
    assert compared.verdict.state == "decided"
    assert compared.verdict.sentence.startswith("batch is better than none: +")
    assert "points of test accuracy" in compared.verdict.sentence
    assert "after Holm over 3 comparisons, 10 seeds)" in compared.verdict.sentence
    assert compared.verdict.sentence.endswith("On validation it is best of all.")
    assert any(reason.startswith("layer is worse than none") for reason in compared.verdict.reasons)


def test_over_many_studies_planted_differences_are_found_and_null_ones_are_not_claimed() -> None:
    """Of 150 studies at a family-wise 5 %, more than 17 with a false claim have a chance below 1 in 1000."""
    found, claimed = 0, 0
    for seed in range(150):
        decided = decisions(planted({"batch": 0.03}, seed=seed))
        found += decided["batch"] == "better"
        claimed += {decided["layer"], decided["group"]} != {"undecided"}
    assert found == 150
    assert claimed <= 17


def test_one_variant_over_two_disjoint_sets_of_seeds_is_seldom_claimed_to_differ() -> None:
    """Null by construction: of 200 studies at 5 %, more than 21 claims have a chance below 1 in 1000."""
    study = make_study(("none", "group"))
    claims = 0
    for seed in range(200):
        rows = fake_rows(study, lambda *_: 0.9, seed=seed)
        for row in rows:
            if row.variant == "group":
                # The same arm at other seeds: nothing is shared, so nothing is paired.
                value = float(np.random.default_rng([seed, row.seed]).normal(0.9, 0.0224))
                change(row, "metrics", test_accuracy=value, best_val_accuracy=value)
        claims += decisions(compare_rows(study, rows))["group"] != "undecided"
    assert 1 <= claims <= 21


def test_what_cannot_be_told_apart_says_how_many_seeds_would() -> None:
    compared = planted({})
    one = difference(compared, "group")
    assert one.decision == "undecided"
    assert one.to_see == abs(one.mean or 0.0)
    assert one.effect_size is not None
    expected = seeds_needed(abs(one.effect_size), 1.0, level=0.05 / 3)
    assert one.seeds_needed == expected
    said = [compared.verdict.sentence, *compared.verdict.reasons]
    assert any(f"about n = {expected} seeds would be needed to see" in text for text in said)
    assert compared.verdict.state == "undecided"


def test_within_a_stated_margin_variants_are_equivalent() -> None:
    compared = planted({"batch": 0.05}, margin=0.02)
    assert decisions(compared)["group"] == "equivalent"
    assert decisions(compared)["batch"] == "better"
    assert any(
        "group is equivalent to none within 2.00 points" in r for r in compared.verdict.reasons
    )
    p_value = difference(compared, "group").equivalence_p_value
    assert p_value is not None
    assert p_value < 0.05
    assert decisions(planted({"batch": 0.05}))["group"] == "undecided"


def test_with_a_margin_the_seeds_needed_are_those_that_would_show_it() -> None:
    one = difference(planted({}, margin=0.001), "group")
    assert (one.decision, one.to_see) == ("undecided", 0.001)


def test_under_eight_seeds_there_is_no_verdict() -> None:
    compared = planted({"group": 0.2}, seeds=7)
    assert (compared.verdict.state, decisions(compared)["group"]) == ("too_few_seeds", None)
    assert compared.verdict.sentence.startswith("No verdict with 7 seeds: from 8 on there is one.")


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ("failed", "oom", "group: 1 failed (j31)"),
        ("cancelled", "cancelled", "group: 1 cancelled (j31)"),
        ("running", None, "group: 1 not finished (j31)"),
    ],
)
def test_a_job_without_a_value_withholds_the_verdict(
    status: str, reason: str | None, said: str
) -> None:
    study = make_study(FOUR)
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.1 * (variant == "batch"), seed=2)
    alter(rows, [rows[30]], status=status, reason=reason, metrics={})
    compared = compare_rows(study, rows)
    assert (compared.verdict.state, compared.best) == ("withheld", None)
    assert said in compared.verdict.reasons
    assert set(decisions(compared).values()) == {None}
    # What is left is shown, and marked.
    assert difference(compared, "group").n == 9


def test_a_missing_job_withholds_the_verdict() -> None:
    study = make_study(FOUR)
    rows = fake_rows(study, lambda *_: 0.9, seed=2)
    del rows[30]
    assert "group: no job at seed 0" in compare_rows(study, rows).verdict.reasons


def test_a_variant_that_diverges_half_the_time_does_not_win_by_its_survivors() -> None:
    study = make_study(FOUR)
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.05 * (variant == "group"), seed=2)
    for row in rows:
        if row.variant == "group" and row.seed % 2:
            metrics = {"test_accuracy": None, "best_val_accuracy": None, "epochs": 1.0}
            alter(rows, [row], reason="diverged", metrics=metrics)
    compared = compare_rows(study, rows)
    assert decisions(compared)["group"] != "better"
    assert compared.best is not None
    assert compared.best.name != "group"
    sensitivity = difference(compared, "group").sensitivity
    assert sensitivity is not None
    assert (sensitivity.n, sensitivity.left_out) == (5, (1, 3, 5, 7, 9))
    assert sensitivity.mean is not None
    assert sensitivity.mean > 0.02


def test_the_best_is_chosen_on_validation_never_on_test() -> None:
    study = make_study(FOUR)
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.05 * (variant == "group"), seed=2)
    for row in rows:
        if row.variant == "batch":
            change(row, "metrics", best_val_accuracy=0.99)
    compared = compare_rows(study, rows)
    assert compared.best is not None
    assert (compared.best.name, compared.best.metric) == ("batch", "best_val_accuracy")
    assert decisions(compared)["group"] == "better"


def test_an_undeclared_extension_makes_the_verdict_exploratory() -> None:
    study = make_study(FOUR, seeds=12)
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.05 * (variant == "batch"), seed=4)
    compared = compare_rows(study, rows, planned_seeds=range(8))
    assert compared.verdict.state == "exploratory"
    assert compared.verdict.sentence.startswith(
        "Exploratory, because the study had 8 seeds planned"
    )
    assert (compared.plan.seeds, compared.plan.analysed) == (8, 12)
    assert compare_rows(study, rows, planned_seeds=range(12)).verdict.state == "decided"


def looked(seeds: int, effect: float = 0.0, seed: int = 5) -> Comparison:
    study = make_study(FOUR, seeds=seeds, looks=[8, 16])
    rows = fake_rows(study, lambda variant, _: 0.9 + effect * (variant == "batch"), seed=seed)
    return compare_rows(study, rows, planned_seeds=range(8))


def test_a_declared_look_is_no_afterthought() -> None:
    first, second = looked(8, 0.05), looked(16, 0.05)
    assert (first.plan.look, first.plan.analysed, first.plan.seeds) == (1, 8, 16)
    assert (second.plan.look, second.plan.analysed) == (2, 16)
    assert (first.verdict.state, second.verdict.state) == ("decided", "decided")
    # O'Brien-Fleming spends little at half of the information.
    assert first.plan.level == pytest.approx(0.00305, abs=1e-4)
    assert second.plan.level == pytest.approx(0.0483, abs=2e-4)


def test_a_study_that_grows_says_which_look_is_under_way() -> None:
    study = make_study(FOUR, seeds="until decided, at most 16").add_seeds(8)
    rows = fake_rows(study, lambda *_: 0.9, seed=5)
    alter(rows, [row for row in rows if row.seed == 15], status="running", reason=None, metrics={})
    notes = compare_rows(study, rows, planned_seeds=range(8)).notes
    assert any("look 1 of 2, at 8 seeds" in note for note in notes)
    [grows] = [note for note in notes if note.startswith("the study grows by itself")]
    assert "decided; look 2, at 16 seeds, is under way: where it has stopped early" in grows


def test_what_has_turned_round_since_the_look_that_found_it_is_claimed_neither_way() -> None:
    study = make_study(FOUR, seeds=16, looks=[8, 16])
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.1 * (variant == "batch"), seed=5, own=0.002)
    for row in rows:
        if row.variant == "batch" and row.seed >= 8:
            change(row, "metrics", test_accuracy=row.metrics["test_accuracy"] - 0.25)
    compared = compare_rows(study, rows)
    assert (difference(compared, "batch").mean or 0.0) < 0
    assert decisions(compared)["batch"] == "undecided"


def test_a_variant_without_any_job_withholds_the_verdict() -> None:
    rows = fake_rows(make_study(FOUR), lambda *_: 0.9, seed=2)
    kept = [row for row in rows if row.variant != "layer"]
    assert "layer: no jobs" in compare_rows(make_study(FOUR), kept).verdict.reasons
    assert compare_rows(make_study(FOUR), []).verdict.state == "withheld"


def test_what_was_found_at_the_first_look_stays_found_at_the_second() -> None:
    study = make_study(FOUR, seeds=16, looks=[8, 16])
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.1 * (variant == "batch"), seed=5, own=0.002)
    for row in rows:
        if row.variant == "batch" and row.seed >= 8:
            change(row, "metrics", test_accuracy=row.metrics["test_accuracy"] - 0.19)
    assert difference(compare_rows(study, rows), "batch").p_adjusted == pytest.approx(1.0, abs=0.3)
    assert decisions(compare_rows(study, rows))["batch"] == "better"


def test_the_first_look_stands_while_the_second_is_under_way() -> None:
    study = make_study(FOUR, seeds=16, looks=[8, 16])
    rows = fake_rows(study, lambda variant, _: 0.9 + 0.05 * (variant == "batch"), seed=5)
    for row in rows:
        if row.seed >= 11:
            alter(rows, [row], status="running", reason=None, metrics={})
    compared = compare_rows(study, rows)
    assert (compared.plan.look, compared.plan.analysed) == (1, 8)
    assert decisions(compared) == decisions(looked(8, 0.05))


def test_seeds_that_are_no_declared_look_are_exploratory() -> None:
    assert looked(12, 0.05).verdict.state == "exploratory"


def test_a_study_is_submitted_with_as_many_seeds_as_a_look_has() -> None:
    assert make_study(FOUR, seeds=8, looks=[8, 16]).seed_list == tuple(range(8))
    document = {"name": "s", "variants": {"none": {}}, "looks": [9, 16]}
    assert read_study(document).seed_list == tuple(range(9))
    with pytest.raises(StudyError, match="as many as one of the looks"):
        refuse_unplanned_seeds(read_study({**document, "seeds": 10}))
    for looks in ([16, 9], [4, 8], [9, 9]):
        with pytest.raises(StudyError):
            read_study({**document, "looks": looks})


def test_equal_differences_are_decided_by_the_sign_flip_test() -> None:
    study = make_study(("none", "group"), seeds=8)
    rows = fake_rows(study, lambda variant, _: 0.9 - 0.01 * (variant == "group"), seed=1, own=0.0)
    one = difference(compare_rows(study, rows), "group")
    assert (one.p_value, one.decision, one.effect_size) == (2 / 2**8, "worse", None)
    same = fake_rows(study, lambda *_: 0.9, seed=1, own=0.0)
    one = difference(compare_rows(study, same), "group")
    assert (one.p_value, one.decision) == (1.0, "undecided")


def test_a_study_of_its_baseline_alone_has_nothing_to_tell_apart() -> None:
    study = make_study(("none",))
    compared = compare_rows(study, fake_rows(study, lambda *_: 0.9, seed=1))
    assert compared.verdict.state == "undecided"
    assert (
        compared.verdict.sentence == "No variant is better than none, which is best on validation."
    )


def test_the_best_is_held_against_what_stands_at_its_own_point() -> None:
    study = make_study(("none", "group"), matrix={"training.batch_size": [64, 8]})

    def mean(variant: str, point: Mapping[str, Any]) -> float:
        return 0.95 if point["training.batch_size"] == 64 else 0.8 + 0.04 * (variant == "group")

    rows = fake_rows(study, mean, seed=1)
    for row in rows:
        if (row.variant, row.point["training.batch_size"]) == ("none", 64):
            change(row, "metrics", best_val_accuracy=0.99)
    verdict = compare_rows(study, rows).verdict
    assert verdict.sentence == (
        "No variant is better than none · batch_size=64, which is best on validation."
    )
    assert any(said.startswith("group · batch_size=8 is better") for said in verdict.reasons)


def test_a_look_says_what_it_asks_for_and_counts_seeds_for_the_last() -> None:
    compared = looked(8, 0.0, seed=6)
    said = " ".join([compared.verdict.sentence, *compared.verdict.reasons])
    assert "at look 1 of 2, which asks for about 0.003" in said
    one = next(
        one.difference
        for one in compared.variants
        if one.difference and one.difference.decision == "undecided"
    )
    assert one.effect_size is not None
    level = nominal_levels([8, 16], 0.05 / 3)[-1]
    assert one.seeds_needed == seeds_needed(abs(one.effect_size), 1.0, level=level)


def test_between_two_looks_the_sentence_says_so() -> None:
    sentence = looked(12, 0.05).verdict.sentence
    assert "the study has 12 seeds, and looks were declared at 8 and 16" in sentence


def test_jobs_beyond_the_look_are_not_waited_for_in_words() -> None:
    study = make_study(FOUR, seeds=16, looks=[8, 16])
    rows = fake_rows(study, lambda *_: 0.9, seed=5)
    for row in rows:
        if row.seed >= 8:
            alter(rows, [row], status="running", reason=None, metrics={})
        if row.variant == "group":
            change(row, "environment", torch="2.15.0")
    assert compare_rows(study, rows).verdict.sentence == "The verdict is withheld."


def test_a_metric_without_a_direction_has_no_better() -> None:
    study = make_study(FOUR)
    compared = compare_rows(study, fake_rows(study, lambda *_: 0.9, seed=1), "epochs")
    assert compared.verdict.state == "withheld"
    assert compared.verdict.reasons[0].startswith("epochs is neither an accuracy nor a loss")


def test_resampled_splits_whose_sizes_nobody_knows_withhold_the_verdict() -> None:
    study = make_study(FOUR, splits="resampled")
    rows = fake_rows(study, lambda *_: 0.9, seed=1)
    assert compare_rows(study, rows).verdict.state != "withheld"
    for row in rows:
        alter(rows, [row], facts=None)
    assert "the sizes of its splits aren't recorded" in compare_rows(study, rows).verdict.reasons[0]


def test_of_two_sizes_of_splits_the_one_that_trusts_less_counts() -> None:
    widths = []
    for small in ("none", "group"):
        study = make_study(("none", "group"), splits="resampled")
        rows = fake_rows(study, lambda *_: 0.9, seed=1)
        for row in rows:
            if row.variant == small:
                change(row, "facts", train_size=100)
        interval = difference(compare_rows(study, rows), "group").interval
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[0] == pytest.approx(widths[1])
