#!/bin/sh
# psutil 7.2.2, CPython 3.11.7, Linux: when one thread waits in psutil.Popen.wait() and another asks poll(), the
# exit code of a process that failed can read 0 (as if it had succeeded), or turn from the right one into None.
# psutil's wait collects the child beside subprocess's own lock. subprocess.Popen always gives the right code.
# Output seen: "psutil: 44 of 60 codes wrong (0: 26, None: 18), subprocess: 0 of 60 wrong"; how many are wrong varies.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "psutil==7.2.2"
"$folder/venv/bin/python" - <<'EOF'
import subprocess
import sys
import threading
from collections import Counter

import psutil

PROGRAM = [sys.executable, "-c", "import time; time.sleep(0.2); raise SystemExit(3)"]


def exit_code(popen):
    process = popen(PROGRAM)
    waiting = threading.Thread(target=process.wait)
    waiting.start()
    while process.poll() is None:
        pass
    waiting.join()
    return process.returncode


codes = {popen: Counter(exit_code(popen) for _ in range(60)) for popen in (psutil.Popen, subprocess.Popen)}
wrong = {popen: 60 - counter[3] for popen, counter in codes.items()}
seen = codes[psutil.Popen]
print(
    f"psutil: {wrong[psutil.Popen]} of 60 codes wrong (0: {seen[0]}, None: {seen[None]}), "
    f"subprocess: {wrong[subprocess.Popen]} of 60 wrong"
)
sys.exit(not (wrong[psutil.Popen] > 0 and wrong[subprocess.Popen] == 0))
EOF
