"""`python -m bench.report RESULT.json`: the result as Markdown; `--into FILE` puts it between FILE's markers."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.harness.figures import markdown_table, table_rows

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def render(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    verdicts = [row["verdict"] for section in document["sections"].values() for row in section["figures"]
                if row["goal"] is not None]  # fmt: skip
    rounds = document["rounds"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gigabytes']} GB; "
        f"{machine['system']}; Python {machine['python']}; {packages}; commit {machine['commit']}. "
        f"{'One round' if rounds == 1 else f'Medians of {rounds} rounds'}. {verdicts.count('reached')} of {len(verdicts)} goals "
        f"are reached.",
    ]
    for name, section in document["sections"].items():
        before, after = (load[0] for load in section["load"])
        lines += [
            f"### {section['title']}",
            f"`python -m bench --only {name}`: {section['seconds']:.0f} s, load average {before:.1f} "
            f"before, {after:.1f} after.",
            f"It failed: `{section['failure'].strip().splitlines()[-1]}`"
            if section.get("failure")
            else markdown_table(_emphasized(section["figures"])),
        ]
    return "\n\n".join(lines) + "\n"


def _emphasized(figures: list[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """What is missed in bold."""
    return [
        (*row[:3], row[3].replace("missed", "**missed**", 1))
        for row in table_rows(figures)
    ]  # fmt: skip


def replace_between_markers(text: str, block: str) -> str:
    """Raises ValueError where a marker is missing."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{block}\n{END}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--into", type=Path, metavar="FILE")
    options = parser.parse_args()
    block = render(json.loads(options.result.read_text()))
    if options.into is None:
        print(block, end="")
    else:
        options.into.write_text(replace_between_markers(options.into.read_text(), block))


if __name__ == "__main__":
    main()
