"""The verb `diagnostics`: layer statistics recorded during training."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from normlab.cli.render import Column, Format, Output, emit, field, raw
from normlab.cli.show import Job
from normlab.client import Client
from normlab.errors import NormlabError


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
