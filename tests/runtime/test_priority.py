import subprocess
import sys

import pytest

from runtime.priority import NICE

PROGRAM = """
import os
from runtime.priority import lower_priority
lower_priority()
print(os.nice(0))
group = open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else ""
print(group.split()[-1] if group else "")
"""


@pytest.mark.parametrize("leads", [True, False])
def test_the_weight_of_a_session_is_lowered_by_its_leader_only(leads: bool) -> None:
    own, group = subprocess.run(
        [sys.executable, "-c", PROGRAM], start_new_session=leads, stdout=-1, text=True, check=True
    ).stdout.split("\n")[:2]
    assert int(own) >= NICE
    # Of a process in a CPU cgroup (a container) the file says nothing, and there niceness alone counts.
    assert not group or (int(group) == NICE) == leads
