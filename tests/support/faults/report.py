"""What was seen of each fault: collected by the tests, and `python -m tests.support.faults.report FILE --into DOCUMENT`
puts it, as a table, between the document's markers."""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.report import replace_between_markers
from tests.support.faults.machine import NotMadeHere
from tests.support.faults.scene import Scene
from tests.support.faults.table import Fault

HEAD = ("fault", "rounds", "jobs", "what was seen (last round)", "verdict")
SHARED = " Faults of one kind happened to the same jobs, one after the other, so that their rows count the same jobs."


@dataclass
class Row:
    """Of one fault, over all its rounds."""

    fault: str
    rounds: int = 0
    jobs: int = 0
    seen: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class Report:
    """`shared`: the faults of a round share their jobs."""

    shared: bool
    rows: dict[str, Row] = field(default_factory=dict)

    @contextmanager
    def round(self, scene: Scene, faults: Sequence[Fault]) -> Iterator[None]:
        """Does them, one after the other; what happens inside belongs to each of them."""
        rows = [self.rows.setdefault(fault.name, Row(fault.name)) for fault in faults]
        try:
            for fault, row in zip(faults, rows, strict=True):
                try:
                    row.seen = fault.happen(scene)
                    row.rounds += 1
                except NotMadeHere as reason:
                    row.problems.append(f"not made: {reason}")
            yield
        except Exception as error:
            for row in rows:
                row.problems.append(f"{type(error).__name__}: {error}".splitlines()[0][:200])
            raise
        finally:
            for row in rows:
                row.jobs += len(scene.jobs)

    def write(self, path: Path) -> None:
        document = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 1e9:.0f} GB, {platform.system()} {platform.release()}",
            "how": SHARED if self.shared else "",
            "rows": [asdict(row) for row in self.rows.values()],
        }
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False))


def render(document: Mapping[str, Any]) -> str:
    lines = [HEAD, ("---", "---:", "---:", "---", "---")]
    for row in document["rows"]:
        verdict = "; ".join(dict.fromkeys(row["problems"])) or "held"
        lines.append((row["fault"], str(row["rounds"]), str(row["jobs"]), row["seen"], verdict))
    table = "\n".join(f"| {' | '.join(_cell(one) for one in line)} |" for line in lines)
    rows = document["rows"]
    held = sum(not row["problems"] for row in rows)
    rounds = sorted({row["rounds"] for row in rows})
    times = " to ".join(str(one) for one in (rounds[0], rounds[-1])[: len(rounds)])
    return (
        f"{document['machine']}; rounds of each: {times}; {held} of {len(rows)} faults held.{document['how']}"
        f"\n\n{table}\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--into", type=Path, metavar="DOCUMENT")
    options = parser.parse_args()
    block = render(json.loads(options.result.read_text()))
    if options.into is None:
        print(block, end="")  # noqa: T201 - the command's output
    else:
        options.into.write_text(replace_between_markers(options.into.read_text(), block))


if __name__ == "__main__":
    main()
