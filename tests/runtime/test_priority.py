import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.helper_process import CommandRunner
from runtime.process import PrioritySettings
from runtime.supervision import Limits

NICE = PrioritySettings().background_nice

PROGRAM = """
import os
from runtime.process import lower_priority
lower_priority()
print(os.nice(0))
group = open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else ""
print(group.split()[-1] if group else "")
"""


def lowered(leads: bool, **settings: str) -> list[str]:
    """Its niceness and its session's, as a process says that has lowered its priority."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        start_new_session=leads,
        stdout=-1,
        text=True,
        check=True,
        env={**os.environ, **settings},
    ).stdout.split("\n")[:2]


def test_the_setting_says_by_how_much() -> None:
    before = os.nice(0)
    assert int(lowered(False, NORMLAB_BACKGROUND_NICE="0")[0]) == before
    assert int(lowered(False, NORMLAB_BACKGROUND_NICE="3")[0]) == min(before + 3, 19)


def test_a_command_lowers_its_own_weight_and_not_that_of_whoever_started_it() -> None:
    """Such as the API, in whose session a niceness alone would not give way to a training."""
    before = Path("/proc/self/autogroup")
    ours = before.read_text() if before.exists() else ""
    runner = CommandRunner(Limits(), {"NORMLAB_BACKGROUND_NICE": "7"})
    own, group = runner.run([sys.executable, "-c", PROGRAM], b"").decode().split("\n")[:2]
    assert int(own) == min(os.nice(0) + 7, 19)
    assert group in ("", "7")
    assert not before.exists() or before.read_text() == ours


@pytest.mark.parametrize("leads", [True, False])
def test_the_weight_of_a_session_is_lowered_by_its_leader_only(leads: bool) -> None:
    own, group = lowered(leads)
    assert int(own) >= NICE
    # Of a process in a CPU cgroup (a container) the file says nothing, and there niceness alone counts.
    assert not group or (int(group) == NICE) == leads
