"""`python -m bench`: every figure of docs/performance.md beside its goal, as a table and as JSON.

Contestants take turns within a section, so that what else the machine does hits all alike; figures are medians
over the rounds. Each section runs in a process of its own. Progress goes to stderr.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.harness.figures import table_rows, text_table
from bench.harness.machine import describe_machine, load_average
from bench.harness.progress import say
from bench.sections import QUICK, SECTIONS, Effort, measure

FORMAT = 1
#: A median of fewer hides neither a slow first round nor a disturbed one.
ROUNDS, QUICK_ROUNDS = 5, 1


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    effort = Effort(options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS), options.quick)
    names = options.only or (QUICK if options.quick else tuple(SECTIONS))
    document: dict[str, Any] = {
        "format": FORMAT,
        "machine": describe_machine(),
        "rounds": effort.rounds,
        "quick": effort.quick,
        "sections": {},
    }
    for name in names:
        say(f"{name}: {describe(name)}")
        document["sections"][name] = section = run_section(name, effort)
        print_section(section)
        # After each: an interrupted run has what it measured.
        options.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    say(f"wrote {options.output}")
    if failed := [name for name, section in document["sections"].items() if section.get("failure")]:
        say(
            f"failed: {', '.join(failed)}; python -m bench --only {' '.join(failed)} runs them again"
        )


def run_section(name: str, effort: Effort) -> dict[str, Any]:
    """Its description; `failure` is a traceback where it raised, and then the other sections still run."""
    before, began = load_average(), time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder,
            # A new interpreter, which shares no memory with this one and has started no other process.
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        ):
            described = pool.submit(measure, name, folder, effort).result()
    except Exception:
        described = {"title": describe(name), "figures": [], "rounds": {}}
        described["failure"] = traceback.format_exc()
    seconds = time.monotonic() - began
    return {**described, "seconds": seconds, "load": [before, load_average()]}


def describe(name: str) -> str:
    return (SECTIONS[name].__doc__ or "").rstrip(".")


def print_section(section: dict[str, Any]) -> None:
    (before, *_), (after, *_) = section["load"]
    print(f"\n{section['title']} ({section['seconds']:.0f} s, load {before:.1f} to {after:.1f})")
    print(section.get("failure") or text_table(table_rows(section["figures"])), flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:<10} {describe(name)}" for name in SECTIONS)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"sections:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), metavar="SECTION",
                        help="these sections")  # fmt: skip
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}; with --quick {QUICK_ROUNDS}")
    parser.add_argument("--quick", action="store_true",
                        help="about three minutes: fewer rounds, sections and peers")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("bench-result.json"), metavar="JSON",
                        help="where the result goes (%(default)s)")  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
