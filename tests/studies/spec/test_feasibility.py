"""A study that asks for what its jobs will never record is refused with the names that there are."""

from typing import Any

import pytest

from studies.spec.expand import expand
from studies.spec.study import StudyError, read_study
from tests.studies.spec.test_expand import DEMO, study
from trainer.spec.recorded import STOPPING_RULES
from trainer.spec.report import Problem

REGRESSION = {
    "base": {"dataset": {"name": "polynomial_noise"}, "model": {"name": "polynomial"},
             "norm": {"kind": "none"}, "task": {"kind": "regression"}},
    "variants": {"low": {"model": {"degree": 1}}, "high": {"model": {"degree": 9}}},
    "baseline": "low",
    "metric": "test_loss",
}  # fmt: skip
SEEN = {**DEMO["base"], "diagnostics": {"kind": "epoch"}}


def claim(statistic: Any) -> dict[str, Any]:
    return {"claims": [{"name": "a", "says": "b", "statistic": statistic, "above": {"none": 0}}]}


def refused(**changes: Any) -> list[Problem]:
    with pytest.raises(StudyError) as caught:
        expand(read_study(study(**changes)))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("changes", "place", "detail"),
    [
        ({"metric": "accuracy"}, "/metric",
         "no job of this study records 'accuracy'; did you mean 'test_accuracy'?"),
        ({"metric": "test_acc"}, "/metric", "did you mean 'test_accuracy'?"),
        # A name that merely begins with that of an evaluation.
        ({"metric": "test_f1"}, "/metric", "no job of this study records 'test_f1'"),
        ({"metric": "best_val_acc"}, "/metric", "did you mean 'best_val_accuracy'?"),
        ({"metric": "test_error"}, "/metric", "no job of this study records 'test_error'"),
        ({"metric": "last_test_accuracy"}, "/metric", "no job of this study records"),
        ({"metric": "test_accuracy", "variants": {"none": {"norm": {"kind": "none"}}, "odd": {"norm": {"kind": "batch"}, "evaluations": []}}},
         "/metric", "test_accuracy isn't recorded by odd, but every arm needs it"),
        ({**REGRESSION, "threshold": {"value": 0.9}}, "/threshold/metric", "a regression has no accuracy"),
        ({**REGRESSION, **claim({"kind": "curve", "column": "val_accuracy"})}, "/claims/0",
         "no curve of val_accuracy"),
        ({**REGRESSION, **claim({"kind": "steps_to_reach", "value": 0.5})}, "/claims/0",
         "no curve of val_accuracy"),
        ({**REGRESSION, "figure": [{"panel": "curves"}]}, "/figure/0/column", "no curve of val_accuracy"),
        # A missing value would depend on how the training went.
        *(({"metric": f"stop_epoch_{rule}"}, "/metric",
           f"stop_epoch_{rule} is recorded only by jobs that this stopping rule would have stopped")
          for rule in STOPPING_RULES),
        (claim("test_f1"), "/claims/0", "no job of this study records 'test_f1'"),
        (claim({"kind": "log10", "of": "tset_error"}), "/claims/0", "did you mean 'test_error'?"),
        ({**claim({"kind": "look", "statistic": "gradient_nrm"}), "base": SEEN}, "/claims/0",
         "diagnostics measure no 'gradient_nrm' of a layer; did you mean 'gradient_norm'?"),
        ({**claim({"kind": "look", "statistic": "after_std", "layer": "network"}), "base": SEEN},
         "/claims/0", "diagnostics measure no 'after_std' of the whole network"),
        ({"figure": [{"panel": "looks", "statistic": "befor_std"}], "base": SEEN}, "/figure/0/statistic",
         "did you mean 'before_std'?"),
        ({"figure": [{"panel": "layers", "statistic": "loss_gap"}], "base": SEEN}, "/figure/0/statistic",
         "diagnostics measure no 'loss_gap' of a layer"),
        ({"figure": [{"panel": "curves", "arms": ["nune"]}]}, "/figure/0", "did you mean 'none'?"),
    ],
)  # fmt: skip
def test_what_no_job_will_record_is_refused(
    changes: dict[str, Any], place: str, detail: str
) -> None:
    said = {one.pointer: one.detail for one in refused(**changes)}
    assert detail in said[place]


def test_the_metrics_that_there_are_are_listed() -> None:
    [problem] = refused(metric="accuracy")
    assert (problem.remedy or "").startswith("metric: one of test_accuracy, test_loss, best_val_a")


def test_the_remedy_names_only_metrics_that_every_job_records() -> None:
    [problem] = refused(metric="stop_epoch_patience")
    assert "stop_epoch" not in (problem.remedy or "")


@pytest.mark.parametrize("rule", STOPPING_RULES)
def test_a_claim_may_be_about_what_only_some_jobs_record(rule: str) -> None:
    assert expand(read_study(study(**claim(f"stop_epoch_{rule}"))))


@pytest.mark.parametrize("metric", ["test_loss", "best_val_accuracy", "best_epoch", "steps"])
def test_any_metric_of_every_job_may_be_the_metric_of_record(metric: str) -> None:
    assert expand(read_study(study(metric=metric)))


def test_a_study_that_was_accepted_is_expanded_as_it_is() -> None:
    accepted = read_study(study(metric="accuracy"))
    assert expand(accepted, settings={})
