"""`python -m bench`: prints what the README says about speed, as medians of one interleaved run."""

import argparse
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import structlog

from bench.layers import measure_lrn
from bench.looks import measure_looks
from bench.path import measure_path
from bench.steps import measure_steps


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="of 10 steps per norm (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of the 8 jobs (%(default)s)")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder:
        steps = measure_steps(Path(folder), rounds=options.rounds)
        print("One training step of cnn (width 32, batch 64) on digits, one thread; medians")
        _print_table(
            ("norm", "ms", "ratio to none"),
            ((row.norm, f"{row.milliseconds:.2f}", f"{row.ratio:.2f}") for row in steps),
        )
        lrn = measure_lrn(rounds=options.rounds)
        print("\nLocal response norm on 32×64×16×16, forward and backward, one thread; medians")
        _print_table(
            ("layer", "ms"),
            (
                ("ours", f"{lrn.ours_milliseconds:.2f}"),
                ("torch's own", f"{lrn.stock_milliseconds:.2f}"),
                ("torch's to ours", f"{lrn.ratio:.2f} times"),
            ),
        )
        looks = measure_looks(Path(folder), rounds=options.rounds)
        print(
            f"\nA training step with diagnostics every epoch to one without: {looks:.3f} (median)"
        )
        path = measure_path(Path(folder), repeats=options.repeats)
        print(f"\n{path.jobs} jobs of {path.epochs} epochs one after the other; medians")
        _print_table(
            ("way", "ms per job"),
            (
                ("trainer alone", f"{path.alone_milliseconds:.0f}"),
                ("acquired from SQL, leased, recorded", f"{path.service_milliseconds:.0f}"),
                ("the difference", f"{path.cost_milliseconds:.0f}"),
            ),
        )


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        print("  " + "  ".join(cells))


if __name__ == "__main__":
    main()
