"""`python -m bench.pairing`: how much variance pairing saves, by named random streams and by one global seed.

Arms that differ in their norm are trained with each seed: with streams of their own for initial weights, order and
dropout, as Normlab trains, and with one global seed (`bench.pairing.global_seed`).
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from bench.harness.machine import describe_machine
from bench.harness.progress import say
from bench.pairing.drawing import draw
from bench.pairing.trainings import SETTINGS, Score, train_all
from bench.pairing.variances import Ratio, find_ratios


def main() -> None:
    options = _parse()
    torch.set_num_threads(1)
    scores: list[Score] = []
    if options.scores is not None:
        for path in options.scores:
            scores += [Score(**row) for row in json.loads(path.read_text())["scores"]]
    else:
        began, folder = time.monotonic(), options.output.with_suffix(".data")
        for score in train_all(
            options.settings, options.first, options.seeds, folder, options.mnist
        ):
            scores.append(score)
            if score.norm == "instance" and score.scheme == "global":
                say(f"{score.setting}, seed {score.seed}: {time.monotonic() - began:.0f} s")
                _write(options.output, scores, [])
    ratios = list(find_ratios(scores))
    _write(options.output, scores, ratios)
    draw(ratios, options.output.with_suffix(".png"))
    for ratio in ratios:
        print(
            f"{ratio.setting:16} {ratio.metric:13} {ratio.arm:8} - {ratio.baseline:5} {ratio.scheme:7} "
            f"{ratio.ratio:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]  n = {ratio.seeds}"
        )


def _write(path: Path, scores: list[Score], ratios: list[Ratio]) -> None:
    document = {
        "machine": describe_machine(),
        "scores": [asdict(score) for score in scores],
        "ratios": [asdict(ratio) for ratio in ratios],
    }
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pairing", description=__doc__)
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS),
                        metavar="NAME", help="(%(default)s)")  # fmt: skip
    parser.add_argument("--seeds", type=int, help="of each arm; default: those of the settings")
    parser.add_argument("--first", type=int, default=0, metavar="SEED",
                        help="begins here, where an earlier run was interrupted (%(default)s)")  # fmt: skip
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="MNIST as parquet files")
    parser.add_argument("--scores", type=Path, nargs="+", metavar="JSON",
                        help="trains nothing, but draws what earlier runs have written")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("bench-pairing"), metavar="PATH",
                        help="PATH.png and PATH.json (%(default)s)")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    main()
