"""`python -m bench.models`: which norm goes into which model of torchvision and timm, checked and trained.

Each model runs in a process of its own with a limit of time. Results are kept line by line, so that an
interrupted run goes on where it stopped; the table is written from all of them.
"""

import argparse
import contextlib
import json
import multiprocessing
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.models.cells import NORMS, Cell, Model, send_lines
from bench.models.table import write_table
from trainer.models.library import model_names

FAMILIES = (
    "torchvision:squeezenet1_1",
    "torchvision:alexnet",
    "torchvision:vgg11",
    "torchvision:vgg11_bn",
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:resnext50_32x4d",
    "torchvision:densenet121",
    "torchvision:googlenet",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:mnasnet0_5",
    "torchvision:regnet_y_400mf",
    "timm:maxvit_nano_rw_256",
    "timm:efficientformerv2_s0",
    "timm:coatnet_nano_rw_224",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224",
    "timm:pvt_v2_b0",
    "timm:mixer_s32_224",
    "timm:resmlp_12_224",
    "timm:levit_128s",
    "timm:resnetv2_18",
    "timm:seresnet18",
    "timm:darknet17",
    "timm:regnetx_002",
    "timm:repvgg_a0",
    "timm:dla46_c",
    "timm:mobilenetv4_conv_small",
    "timm:poolformerv2_s12",
    "timm:convnextv2_atto",
    "timm:edgenext_xx_small",
    "timm:mobilevit_xxs",
    "timm:starnet_s1",
    "timm:xcit_nano_12_p16_224",
    "timm:ghostnet_050",
    "timm:nf_resnet26",
    "timm:eca_nfnet_l0",
    "timm:swin_tiny_patch4_window7_224",
    "timm:mvitv2_tiny",
    "timm:fastvit_t8",
    "timm:gcvit_xxtiny",
    "torchvision:inception_v3",
    "torchvision:efficientnet_b0",
)

DRAWN = 10
DRAW_SEED = 0
#: A drawn model with more parameters, or that runs at none of the image sizes, is passed over.
MOST_PARAMETERS = 12_000_000
MINUTES = 10


@dataclass(slots=True)
class Results:
    """What a file of JSON lines holds; a later line about the same model or cell takes its place."""

    path: Path
    models: dict[str, Model]
    cells: dict[tuple[str, str], Cell]

    @classmethod
    def read(cls, path: Path) -> "Results":
        results = cls(path, {}, {})
        for line in path.read_text().splitlines() if path.exists() else ():
            results._take(line)
        return results

    def add(self, line: str) -> None:
        self._take(line)
        with self.path.open("a") as file:
            file.write(line + "\n")

    def missing(self, model: str) -> tuple[str, ...]:
        return tuple(norm for norm in NORMS if (model, norm) not in self.cells)

    def _take(self, line: str) -> None:
        document = json.loads(line)
        if "norm" in document:
            cell = Cell(**document)
            self.cells[cell.model, cell.norm] = cell
        else:
            model = Model(**document)
            self.models[model.model] = model


def main() -> None:
    options = _parse_options()
    results = Results.read(options.results)
    for library in ("torchvision", "timm"):
        model_names(library)
    began = time.monotonic()
    drawn: list[str] = []
    for name in _draw_names():
        if len(drawn) == DRAWN:
            break
        _run_model(name, MOST_PARAMETERS, results, options.again, began)
        if name in results.models and results.models[name].size is not None:
            drawn.append(name)
    for name in FAMILIES:
        _run_model(name, 0, results, options.again, began)
        rows = [results.models[row] for row in (*FAMILIES, *drawn) if row in results.models]
        write_table(options.table, rows, results.cells, drawn)
    print(f"wrote {options.table}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("bench/models/models.jsonl"))
    parser.add_argument("--table", type=Path, default=Path("docs/models.md"))
    parser.add_argument(
        "--again", nargs="*", default=(), metavar="NAME",
        help="models (torchvision:…, timm:…) or norms whose results are made anew",
    )  # fmt: skip
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    return options


def _draw_names() -> Iterator[str]:
    """All of timm's names in an order fixed by the seed, but for those that are listed anyway."""
    names = sorted(f"timm:{name}" for name in model_names("timm"))
    random.Random(DRAW_SEED).shuffle(names)  # noqa: S311
    yield from (name for name in names if name not in FAMILIES)


def _run_model(
    name: str, most_parameters: int, results: Results, again: Sequence[str], began: float
) -> None:
    known = results.models.get(name)
    norms = results.missing(name)
    if name in again:
        norms = tuple(NORMS)
    else:
        norms = tuple(norm for norm in NORMS if norm in norms or norm in again)
    if (known is not None and known.size is None and name not in again) or not norms:
        return
    print(f"{time.monotonic() - began:6.0f} s  {name}: {', '.join(norms)}", flush=True)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    # Forked, since each would take seconds to import the libraries; nothing is computed in this process.
    child = multiprocessing.get_context("fork").Process(
        target=send_lines, args=(sender, name, most_parameters, norms)
    )
    child.start()
    sender.close()
    timer = threading.Timer(60 * MINUTES, child.kill)
    timer.start()
    with contextlib.suppress(EOFError):
        while True:
            results.add(receiver.recv())
    timer.cancel()
    child.join()
    if child.exitcode:
        print(f"{name} ended with {child.exitcode}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
