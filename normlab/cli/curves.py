"""The verbs that show what a training recorded: `curves`, in the terminal or as an image, and `diagnostics`, of layers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import plotille
import typer

from normlab.cli.render import (
    Column,
    Format,
    Output,
    Patience,
    console,
    emit,
    field,
    raw,
    say,
    say_paragraph,
)
from normlab.cli.show import Job, Named
from normlab.client import Client, Reference
from normlab.errors import NormlabError

PICTURES = (".png", ".svg", ".pdf")
#: In a narrower terminal the lines of the plot break; wider ones are hard to read.
_WIDTHS = (40, 110)
_HEIGHT = 18
#: What the labels on the left take, and the frame.
_MARGIN = 16
_COLORS = (
    "bright_blue", "bright_red", "bright_green", "bright_magenta", "bright_yellow", "bright_cyan",
    "white", "blue", "red", "green", "magenta", "yellow", "cyan",
)  # fmt: skip
_MARKS = "abcdefghijklmnopqrstuvwxyz"
_COLUMNS = ("name", "variant", "place", "n", "x", "mean", "low", "high")


class Metric(StrEnum):
    """The metrics that have learning curves."""

    VAL_ACCURACY = "val_accuracy"
    VAL_LOSS = "val_loss"
    TRAIN_ACCURACY = "train_accuracy"
    TRAIN_LOSS = "train_loss"


class Axis(StrEnum):
    """The x-axis of the curves."""

    EPOCH = "epoch"
    STEP = "step"


def curves(
    name: Named,
    metric: Annotated[
        Metric | None, typer.Option(help="default: val_accuracy, or val_loss without one")
    ] = None,
    x: Annotated[Axis, typer.Option("--x", help="x-axis: epochs or optimizer steps")] = Axis.EPOCH,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="write an image to this file instead (.png, .svg or .pdf)"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Plot learning curves: each variant's mean over its seeds, or a job's validation and training curves."""
    reference = Reference.parse(name)
    wanted = {"x": x.value, **({"metric": metric.value} if metric else {})}
    with Client() as client:
        if out is not None:
            _write(client, reference, out, wanted)
            return
        found = client.curves(reference, **wanted)
    match output:
        case Format.JSON:
            say(json.dumps(found, indent=2))
        case Format.CSV:
            rows = list(_rows(found["series"]))
            emit(rows, [Column(title, raw(title)) for title in _COLUMNS], output, "")
        case Format.TABLE:
            show_curves(found, in_color=_has_colors())


def show_curves(found: Mapping[str, Any], *, in_color: bool) -> None:
    """A plot for each point of the matrix; each line has a colour, or where there is none a letter."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for one in found["series"]:
        lines.setdefault(one["place"], []).append(one)
    say(f"{found['title']}: {_words(found)}")
    if not any(one["points"] for one in found["series"]):
        say("no evaluation period with a finite value yet")
    for place, series in lines.items():
        if any(one["points"] for one in series):
            say()
            say(_plot(found, series, in_color=in_color))
        for number, one in enumerate(series):
            say(_legend(one, number, place, in_color=in_color))
    if any(one["n"] > 1 for one in found["series"]):
        say_paragraph("Means over seeds; a seed that stopped early keeps its last value.")


def _has_colors() -> bool:
    """As plotille decides: in a terminal, and as NO_COLOR and FORCE_COLOR say."""
    return bool(plotille.color("─", fg="red", mode="names") != "─")


def _plot(found: Mapping[str, Any], series: Sequence[Mapping[str, Any]], *, in_color: bool) -> str:
    figure = plotille.Figure()
    figure.color_mode = "names"
    figure.with_colors = in_color
    figure.origin = False
    figure.width = max(_WIDTHS[0], min(console().width - _MARGIN, _WIDTHS[1]))
    figure.height = _HEIGHT
    figure.x_label, figure.y_label = found["x"], found["metric"]
    figure.register_label_formatter(float, _tick)
    figure.register_label_formatter(int, _tick)
    for number, one in enumerate(series):
        xs, means = ([point[key] for point in one["points"]] for key in ("x", "mean"))
        if not xs:
            continue
        color = _COLORS[number % len(_COLORS)] if in_color else None
        figure.plot(xs, means, lc=color)
        if not in_color:
            figure.scatter(xs, means, marker=_mark(number))
    _widen(figure, series)
    return "\n".join(line.rstrip() for line in figure.show().splitlines())


def _widen(figure: plotille.Figure, series: Sequence[Mapping[str, Any]]) -> None:
    """Where all values are one and the same, an axis needs a length of its own."""
    points = [point for one in series for point in one["points"]]
    for key, limit in (("x", figure.set_x_limits), ("mean", figure.set_y_limits)):
        low, high = (choose(point[key] for point in points) for choose in (min, max))
        room = (high - low) * 0.02 or abs(low) * 0.02 or 0.5
        limit(min_=low - room if key == "mean" else low, max_=high + room)


def _legend(one: Mapping[str, Any], number: int, place: str, *, in_color: bool) -> str:
    counts = [f"n={one['n']}", *(f"{count} {why}" for why, count in one["left_out"].items())]
    last = f", last {one['points'][-1]['mean']:.4g}" if one["points"] else ""
    text = f"{one['variant']}{f' at {place}' if place else ''} ({', '.join(counts)}){last}"
    if not in_color:
        return f"  {_mark(number)}  {text}"
    line: str = plotille.color("──", fg=_COLORS[number % len(_COLORS)], mode="names")
    return f"  {line} {text}"


def _mark(number: int) -> str:
    return _MARKS[number % len(_MARKS)]


def _tick(value: float, chars: int, delta: float, left: bool = False) -> str:
    """A label of an axis, as short as it can be while it differs from the next."""
    text = f"{value:.4g}"
    return text.ljust(chars) if left else text.rjust(chars)


def _words(found: Mapping[str, Any]) -> str:
    split, _, measure = found["metric"].partition("_")
    return f"{'validation' if split == 'val' else 'training'} {measure} by {found['x']}"


def _rows(series: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in series:
        for point in one["points"]:
            yield {**{key: one[key] for key in ("name", "variant", "place", "n")}, **point}


def _write(client: Client, reference: Reference, out: Path, wanted: Mapping[str, str]) -> None:
    if out.suffix.lower() not in PICTURES:
        *others, last = PICTURES
        raise NormlabError(f"{out} must end in {', '.join(others)} or {last}")
    with Patience("rendering the curves") as wait:
        content = client.curves_picture(
            reference, out.suffix.lower().removeprefix("."), on_wait=wait, **wanted
        )
    try:
        out.write_bytes(content)
    except OSError as error:
        raise NormlabError(f"{out} cannot be written: {error.strerror}") from error
    say(f"The learning curves of {reference} are in {out}")


def diagnostics(
    name: Job,
    layer: Annotated[
        str | None, typer.Option(help="only this layer; network: the whole network")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the layer statistics recorded while a job trained (its spec must enable diagnostics)."""
    with Client() as client:
        options = {} if layer is None else {"layer": layer}
        looks = client.part(name, "diagnostics", **options)
        if layer is not None and not looks:
            _require_layer(layer, client.part(name, "diagnostics"))
    nothing = "no diagnostics: they are off in the job's spec, or none have been recorded yet"
    if output is Format.TABLE:
        emit(looks, LOOKS, output, nothing)
    else:
        rows = [
            {**{key: one[key] for key in ("epoch", "step", "layer")}, **one["statistics"]}
            for one in looks
        ]
        statistics = sorted({key for one in looks for key in one["statistics"]})
        names = ("epoch", "step", "layer", *statistics)
        emit(rows, [Column(key, raw(key)) for key in names], output, nothing)


def _require_layer(layer: str, looks: Sequence[Mapping[str, Any]]) -> None:
    """Raises NormlabError if there are diagnostics, but not of this layer."""
    if seen := list(dict.fromkeys(one["layer"] for one in looks)):
        raise NormlabError(f"no diagnostics of layer {layer!r}; available: {', '.join(seen)}")


def _statistic(key: str) -> Column:
    def shown(look: Mapping[str, Any]) -> str:
        value = look["statistics"].get(key)
        return "" if value is None else f"{value:.4g}"

    return Column(key.replace("_", " "), shown, right=True)


LOOKS = (
    Column("epoch", field("epoch"), right=True),
    Column("step", field("step"), right=True),
    Column("layer", field("layer")),
    *map(
        _statistic,
        (
            "before_p50",
            "before_std",
            "after_p50",
            "after_std",
            "after_drift_training",
            "dead",
            "statistics_gap",
            "weight_norm",
            "gradient_norm",
            "effective_learning_rate",
            "loss_gap",
        ),
    ),
)
