"""What is said of a study under way."""

from datetime import UTC, datetime, timedelta
from typing import Any

from normlab.cli.render.eta import ahead, outlook, seconds_left

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


def job(variant: str, value: float | None = None, status: str = "succeeded", **more: Any) -> Any:
    found = {
        "id": 1,
        "study_id": 1,
        "variant": variant,
        "point": {},
        "status": status,
        "metrics": {} if value is None else {"best_val_accuracy": value},
        "step": 0,
        "total_steps": None,
        "started_at": START.isoformat(),
    }
    return {**found, **more}


def test_the_end_is_expected_at_the_present_pace() -> None:
    half = job("a", status="running", step=50, total_steps=100)
    waiting = job("a", status="queued", started_at=None)
    jobs = [job("a", 0.9), half, waiting, waiting]
    assert seconds_left(jobs, START + timedelta(seconds=30)) == 30 / 0.375 * 0.625
    assert seconds_left([waiting], START) is None
    assert seconds_left([job("a", 0.9)], START) is None


def test_the_leader_is_the_one_with_the_best_mean_on_validation() -> None:
    jobs = [job("a", 0.9), job("a", 0.8), job("b", 0.86), job("b", None, "running")]
    assert ahead(jobs) == "b 86.00 % (n=1)"
    losses = [{**one, "metrics": {"best_val_loss": number}} for number, one in enumerate(jobs)]
    assert ahead(losses) == "a 0.5000 (n=2)"


def test_nobody_leads_by_the_survivors() -> None:
    lost = job("b", metrics={"best_val_accuracy": None}, reason="diverged")
    assert ahead([job("a", 0.9), job("b", 0.99), lost]) == "a 90.00 % (n=1)"


def test_one_variant_leads_nobody() -> None:
    assert ahead([job("a", 0.9), job("a", 0.8)]) is None
    assert outlook([job("a", 0.9)], START) == ""


def test_a_pretraining_leads_nobody() -> None:
    before = job("pretraining", 0.99, trial={})
    assert ahead([before, job("a", 0.9), job("b", 0.8)]) == "a 90.00 % (n=1)"
    assert ahead([before, job("a", 0.9)]) is None


def test_nobody_leads_over_several_studies() -> None:
    assert ahead([job("a", 0.9), job("b", 0.8, study_id=2)]) is None


def test_both_are_said_in_a_line() -> None:
    jobs = [job("a", 0.9), job("b", 0.86), job("b", None, "queued", started_at=None)]
    said = outlook(jobs, START + timedelta(seconds=120))
    assert said == "about 1m 00s left · ahead on validation: a 90.00 % (n=1)"
