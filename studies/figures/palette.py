"""How each variant looks in every figure of a study: a colour, a dash and a marker of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

#: The baseline is neutral, so that what is compared to it stands out.
_NEUTRAL = "#4d4d4d"
#: Told apart by people with any colour vision, and on white (Okabe & Ito 2008, without its yellow).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True)
class Style:
    """As matplotlib names them."""

    color: str
    marker: str
    dash: str


def styles(variants: Sequence[str], baseline: str) -> dict[str, Style]:
    """By variant; colours come again, with another dash and marker, from the eighth variant on."""
    found = {}
    others = [one for one in variants if one != baseline]
    for number, variant in enumerate(others):
        found[variant] = Style(
            color=_COLORS[number % len(_COLORS)],
            marker=_MARKERS[(number + 1) % len(_MARKERS)],
            dash=_DASHES[number // len(_COLORS) % len(_DASHES)],
        )
    if baseline in variants:
        found[baseline] = Style(_NEUTRAL, _MARKERS[0], _DASHES[0])
    return {variant: found[variant] for variant in variants}
