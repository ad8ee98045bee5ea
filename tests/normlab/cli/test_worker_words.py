"""What `queue` and `status` say of hosts that can't work."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from normlab.cli.render.service import say_workers


def worker(host: str, *problems: str, **fields: Any) -> dict[str, Any]:
    seen = datetime.now(UTC) - timedelta(minutes=11, seconds=1)
    alive = {"alive": True, "draining": False, "seen_at": seen.isoformat()}
    return {"host": host, "problems": list(problems), **alive, **fields}


def test_each_thing_that_is_wrong_with_a_host_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_workers(
        [
            worker("alpha"),
            worker("beta", "claims nothing: /data has 3 MB free", "its clock is 61 s behind"),
            worker("gamma", "claims nothing: /data has 3 MB free", alive=False),
            worker("delta", alive=False, draining=True),
            worker("removed", alive=False, seen_at="2020-01-01T00:00:00+00:00"),
        ]
    )
    assert capsys.readouterr().out.splitlines() == [
        "",
        "warning: host beta: claims nothing: /data has 3 MB free",
        "warning: host beta: its clock is 61 s behind",
        "warning: host gamma has not reported for 11m",
    ]


@pytest.mark.parametrize("workers", [None, [], [worker("alpha")]])
def test_nothing_is_said_where_all_is_well(
    workers: list[dict[str, Any]] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    say_workers(workers)
    assert capsys.readouterr().out == ""
