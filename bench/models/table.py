"""The table of models and norms as a page of Markdown, from what was measured."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from bench.models.cells import NORMS, Cell, Model

#: A network whose class scores differ by less of their size did not look at its images.
LEAST_SPREAD = 1e-10

_HEAD = """\
# Which norm goes into which model

Made by `python -m bench.models`; do not edit. Each cell is the answer of the check that every submitted spec goes through.
An accepted cell names the number of layers that the norm was put in, and was trained for a step on random images (batch of 4):
the loss was finite, a gradient reached the first layer, and the class scores of different images differed. A refused cell says *no*; the
reason is listed below the table. Each model runs at the smallest of a few image sizes that it takes: with larger ones, some norms that are
refused for seeing one position would be accepted. `group` has eight groups.
"""

_NORM_FREE = """
## Networks made to have no norm

A true NF-ResNet (arXiv 2101.08692), its α, its β and its scaled weights included, is a model of timm: `timm:nf_resnet26`, `nf_resnet50`,
`nf_regnet_b0`, `eca_nfnet_l0`, `nfnet_f0`; `test_nfnet` has 0.2 M parameters. Its norm is `none`, its `weights` stay `plain` (its convolutions
standardize theirs themselves: doing so twice is refused), and with `adaptive_gradient_clipping` it is trained as in arXiv 2102.06171:

```yaml
version: 1
dataset: {name: cifar10}
model: {name: "timm:nf_resnet26"}
norm: {kind: none}
regularization:
  - {kind: adaptive_gradient_clipping, value: 0.01}
  - {kind: weight_decay, value: 5.0e-5}
augmentation:
  - {kind: flip}
  - {kind: padded_crop}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9, nesterov: true}
schedule: {kind: cosine, warmup_epochs: 1}
training: {epochs: 20, batch_size: 256}
```

The last gain of each of its branches begins at zero, and clipping limits its steps: with `sgd` it needs about 6 (1 - momentum) / (lr value)
steps to reach 0.1, 600 here. In 200 steps of `timm:test_nfnet` at this rate, momentum and value it came to 0.0002, so that the network without its branches was
trained; a plan warns of that. The same holds for `skip_init` of `resnet20`, and for norms of timm's models whose gain begins at zero.
The tables above say where a norm *can* be put into such a model; it takes out again what the weights were scaled for, and a plan says so, too.

To compare norms with none in one network: `resnet20` with `skip_init: true`, `norm: {kind: none}` and `weights: {kind: scaled_standardization}`.
"""


def write_table(
    path: Path, models: Sequence[Model], cells: Mapping[tuple[str, str], Cell], drawn: Sequence[str]
) -> None:
    path.write_text("\n".join(_lines(models, cells, drawn)) + "\n")


def _lines(
    models: Sequence[Model], cells: Mapping[tuple[str, str], Cell], drawn: Sequence[str]
) -> Iterator[str]:
    yield _HEAD
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "timm")]
    yield f"With {', '.join(versions)}.\n"
    yield from _table([m for m in models if m.model not in drawn], cells)
    yield "\n## Drawn at random\n"
    yield (
        "Names of timm in an order fixed by a seed; models of more than 12 million parameters, and those that "
        "run at none of the image sizes, are passed over.\n"
    )
    yield from _table([m for m in models if m.model in drawn], cells)
    yield "\n## Why a cell is refused\n"
    yield "| model | norm | layer | reason |\n|---|---|---|---|"
    for model in models:
        yield from _reasons([cells[model.model, n] for n in NORMS if (model.model, n) in cells])
    yield _NORM_FREE.rstrip()


def _table(models: Sequence[Model], cells: Mapping[tuple[str, str], Cell]) -> Iterator[str]:
    yield f"| model | image | parameters | {' | '.join(f'`{norm}`' for norm in NORMS)} |"
    yield "|---|---|---|" + "---|" * len(NORMS)
    for model in models:
        words = [_word(cells.get((model.model, norm))) for norm in NORMS]
        size = f"{model.size}" if model.size else "none"
        millions = f"{model.parameters / 1e6:.1f} M"
        yield f"| `{model.model}` | {size} | {millions} | {' | '.join(words)} |"


def _word(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    if not cell.accepted:
        return "no"
    if explain_failure(cell) is not None:
        return "**fails**"
    return "yes" if cell.norm == "none" else str(cell.norms)


def explain_failure(cell: Cell) -> str | None:
    """How an accepted spec did not train; None where it did."""
    if cell.failure is not None:
        return cell.failure
    if cell.spread is not None and cell.spread < LEAST_SPREAD:
        return f"the class scores of different images differ by {cell.spread:.1g} of their size"
    return None


def _reasons(cells: Sequence[Cell]) -> Iterator[str]:
    """One line for norms that are refused alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if not cell.accepted:
            key = (cell.layer or "", cell.reason or "")
        elif (failure := explain_failure(cell)) is not None:
            key = ("", f"accepted, but {failure}")
        else:
            continue
        alike.setdefault(key, []).append(f"`{cell.norm}`")
    for (layer, reason), norms in alike.items():
        where = f"`{layer}`" if layer else ""
        yield f"| `{cells[0].model}` | {', '.join(norms)} | {where} | {reason.replace('|', '/')} |"
