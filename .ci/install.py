"""Runs pip and says in one line what it does and how long that has taken.

    .venv/bin/python .ci/install.py LOG .venv/bin/python -m pip install ...

In a terminal the line is redrawn every second; elsewhere a line comes every 15 seconds. All that pip
says goes to LOG, and its end is printed if it fails. Needs the standard library only.
"""

# ruff: noqa: T201 - it talks to the person who waits.

import compileall
import functools
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

PIPED_SECONDS = float(os.environ.get("NORMLAB_INSTALL_SECONDS", "15"))
LAST_LINES = 20
#: Below site-packages, what (almost) nobody imports: tests, and parts of large packages. Python compiles a module
#: of these when it is imported.
NOT_COMPILED = re.compile(
    r"/site-packages/(.*/)?"
    r"(tests?|databricks|debugpy|networkx|pip|pygments/lexers|setuptools|sympy/physics|torch/(_inductor|testing))/"
)


class Progress:
    """What pip's lines say of its work so far.

    While it installs it says nothing: the packages that lie in `environment` are counted.
    """

    def __init__(self, environment: Path) -> None:
        self.collected = 0
        self.doing = "starting"
        self.is_compiling = False
        self._environment = environment
        self._to_install = self._present_before = 0

    def read(self, line: str) -> None:
        if match := re.match(r"Collecting (\S+)", line):
            self.collected += 1
            self.doing = f"looking for {match[1][:40]}"
        elif match := re.match(r"\s*(?:Downloading|Using cached) (\S+)(.*)", line):
            size = re.search(r"\(([^)]*)\)", match[2])
            name = match[1].rsplit("/", 1)[-1].split("-")[0]
            self.doing = f"fetching {name}" + (f" ({size[1]})" if size else "")
        elif match := re.match(r"\s*Building .* for (\S+)", line):
            self.doing = f"building {match[1]}"
        elif match := re.match(r"Installing collected packages: (.*)", line):
            self._to_install = match[1].count(",") + 1
            self._present_before = self._present()

    def describe(self, seconds: float) -> str:
        time_passed = f"{int(seconds) // 60}:{int(seconds) % 60:02}"
        if self.is_compiling:
            return f"  {time_passed}  compiling"
        if self._to_install:
            done = min(max(self._present() - self._present_before, 0), self._to_install)
            return f"  {time_passed}  installed {done} of {self._to_install} packages"
        packages = f"{self.collected} packages, " if self.collected else ""
        return f"  {time_passed}  {packages}{self.doing}"

    def _present(self) -> int:
        # The last file of a package that pip writes.
        return sum(
            1 for _ in self._environment.glob("lib/python3*/site-packages/*.dist-info/INSTALLER")
        )


def main(log: str, command: list[str]) -> int:
    began, since = time.monotonic(), time.time()
    environment = Path(command[0]).absolute().parents[1]
    progress = Progress(environment)
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        over = threading.Event()
        speaker = threading.Thread(target=speak, args=(progress, began, over))
        speaker.start()
        try:
            for line in process.stdout:
                file.write(line)
                progress.read(line)
            code = process.wait()
            if code == 0:
                progress.is_compiling = True
                compile_packages(environment, since)
        finally:
            over.set()
            speaker.join()
    if code == 0:
        print(f"  installed in {time.monotonic() - began:.0f} s", flush=True)
    else:
        with open(log, encoding="utf-8") as file:
            print("".join(file.readlines()[-LAST_LINES:]), end="", file=sys.stderr)
        print(f"The installation failed (exit status {code}); all of it: {log}", file=sys.stderr)
    return code


def compile_packages(environment: Path, since: float) -> None:
    """Compiles the packages installed or changed after `since` (seconds since the epoch): looking at all of them
    takes seconds."""
    packages = environment.glob("lib/python3*/site-packages/*/")
    changed = [folder for folder in packages if folder.stat().st_ctime >= since]
    # What doesn't compile (a template, a file for another Python) isn't imported either.
    compile_one = functools.partial(compileall.compile_dir, quiet=2, rx=NOT_COMPILED)
    with ProcessPoolExecutor() as pool:
        # From the last, so that torch and sympy, the largest, begin early.
        list(pool.map(compile_one, sorted(changed, reverse=True)))


def speak(progress: Progress, began: float, over: threading.Event) -> None:
    is_terminal = sys.stdout.isatty()
    while not over.wait(1.0 if is_terminal else PIPED_SECONDS):
        text = progress.describe(time.monotonic() - began)
        print(f"\r\033[K{text[:78]}" if is_terminal else text, end="" if is_terminal else "\n")
        sys.stdout.flush()
    if is_terminal:
        print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
