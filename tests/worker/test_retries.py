"""What fails again and again is tried less and less often."""

from worker.retries import Retries


def test_a_failure_is_tried_again_later_and_later() -> None:
    now = 0.0
    retries = Retries(clock=lambda: now)
    assert retries.failed("job", 1, at_once=True) == 0
    assert retries.resting("job") == []
    pauses = [retries.failed("job", 1, at_once=True) for _ in range(8)]
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert retries.resting("job") == [1]
    assert retries.resting("study") == []
    now = 301.0
    assert retries.resting("job") == []
    retries.succeeded("job", 1)
    assert not retries
