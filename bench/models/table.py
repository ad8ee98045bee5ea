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
