"""The figure: what is left of the variance, by norm and scheme."""

from collections.abc import Sequence
from pathlib import Path

from bench.pairing.trainings import METRICS
from bench.pairing.variances import Ratio

_LABELS = {"streams": "named streams", "global": "one global seed"}
_MARKS = {"streams": ("o", "C0", -0.12), "global": ("s", "C1", 0.12)}


def draw(ratios: Sequence[Ratio], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    settings = list(dict.fromkeys(ratio.setting for ratio in ratios))
    figure, grid = pyplot.subplots(
        len(METRICS), len(settings), figsize=(4.2 * len(settings), 6.4), sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, metric in zip(grid, METRICS, strict=True):
        for axis, setting in zip(row, settings, strict=True):
            own = [one for one in ratios if (one.setting, one.metric) == (setting, metric)]
            pairs = list(dict.fromkeys((one.arm, one.baseline) for one in own))
            for scheme, (marker, color, offset) in _MARKS.items():
                drawn = [one for one in own if one.scheme == scheme]
                xs = [pairs.index((one.arm, one.baseline)) + offset for one in drawn]
                ys = [one.ratio for one in drawn]
                bands = [
                    [one.ratio - one.low for one in drawn],
                    [one.high - one.ratio for one in drawn],
                ]
                axis.errorbar(xs, ys, yerr=bands, fmt=marker, color=color, ms=5, lw=1,
                              label=_LABELS[scheme])  # fmt: skip
            axis.axhline(1, color="0.5", lw=0.8, ls="--")
            axis.set_xticks(
                range(len(pairs)), [f"{arm}\n- {base}" for arm, base in pairs], fontsize=8
            )
            axis.set_title(
                f"{setting}: {metric.replace('_', ' ')} (n = {own[0].seeds})", fontsize=10
            )
            axis.grid(axis="y", alpha=0.3)
        row[0].set_ylabel("variance of the difference,\nas a share of the unpaired one's")
    grid[0][0].set_ylim(bottom=0)
    grid[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
