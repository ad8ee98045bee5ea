"""What looks save: simulated studies that grow until they are decided, beside studies of a fixed number of seeds, with how
often each errs. Decisions are made by the function that makes them in the service.

`python -m bench.sequential` simulates 20,000 studies per line; `--processes 2` on two cores.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from studies.spec import read_study
from studies.stats import Design, decide_comparisons

Numbers = NDArray[np.float64]

SEED = 20261130
STUDIES = 20_000
MOST = 40
#: True differences of the other arms to the baseline, in standard deviations of a paired difference. With four arms some
#: of them are null, so that a study can err beside what it finds.
PLANTED: Mapping[int, Sequence[tuple[float, ...]]] = {
    2: [(0.0,), (0.3,), (0.5,), (0.8,), (1.2,), (2.0,)],
    4: [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.8, 0.8, 0.8), (1.2, 1.2, 1.2), (2.0, 2.0, 2.0), (1.2, 0.0, 0.0)],
}  # fmt: skip
#: Of a job's metric, with a variance of one; skewed: most jobs of an arm are a little better than its mean, some far worse,
#: while the baseline's are normal.
NOISE: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Numbers]] = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "heavy-tailed": lambda draw, shape: draw.standard_t(3, shape) / math.sqrt(3),
    "skewed": lambda draw, shape: 1.0 - draw.exponential(size=shape),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    noise: str
    effects: tuple[float, ...]
    studies: int = STUDIES
    most: int = MOST


@dataclass(frozen=True, slots=True)
class Decided:
    """Of one study: how many seeds it had, whether it claimed a difference that there isn't, or in the wrong direction, and
    the share of the true ones that it found."""

    seeds: int
    is_false: bool
    found: float


@dataclass(frozen=True, slots=True)
class Measured:
    """`power`: the share of true differences that were found; NaN where there is none. `fixed_at_mean`: of a study that has
    as many seeds as this one had on average."""

    scenario: Scenario
    false_claims: float
    power: float
    mean_seeds: float
    at_first: float
    fixed_false_claims: float
    fixed_power: float
    power_at_mean: float


def measure(scenario: Scenario) -> Measured:
    design = design_of(scenario.most)
    grown = [grow(design, one, scenario.effects) for one in draw_studies(scenario)]
    mean_seeds = sum(one.seeds for one in grown) / len(grown)
    fixed = [
        [decide_once(one, scenario.effects, seeds) for one in draw_studies(scenario)]
        for seeds in (scenario.most, max(round(mean_seeds), design.looks[0]))
    ]
    return Measured(
        scenario,
        false_claims=_average(one.is_false for one in grown),
        power=_average(one.found for one in grown),
        mean_seeds=mean_seeds,
        at_first=_average(one.seeds == design.looks[0] for one in grown),
        fixed_false_claims=_average(one.is_false for one in fixed[0]),
        fixed_power=_average(one.found for one in fixed[0]),
        power_at_mean=_average(one.found for one in fixed[1]),
    )


def design_of(most: int) -> Design:
    """That of a study whose document says so."""
    variants: dict[str, dict[str, object]] = {"first": {}, "other": {}}
    document = {"name": "s", "variants": variants, "seeds": f"until decided, at most {most}"}
    study = read_study(document)
    return Design(study.looks, study.spending, study.margin)


def draw_studies(scenario: Scenario) -> Iterator[list[list[float]]]:
    """Of each study the paired differences of every comparison, which all have the baseline's noise in common."""
    draw = np.random.default_rng(SEED)
    effects = np.array(scenario.effects)
    of_baseline = "normal" if scenario.noise == "skewed" else scenario.noise
    for _ in range(scenario.studies):
        values = NOISE[scenario.noise](draw, (len(effects), scenario.most))
        baseline = NOISE[of_baseline](draw, (1, scenario.most))
        # Of two independent values of variance one the difference has the deviation √2.
        gaps = (values - baseline) / math.sqrt(2) + effects[:, None]
        yield gaps.tolist()


def grow(design: Design, gaps: Sequence[Sequence[float]], effects: Sequence[float]) -> Decided:
    """Look after look until every comparison is decided."""
    by_look: list[list[Sequence[float]]] = []
    for look in design.looks:
        by_look.append([one[:look] for one in gaps])
        outcomes = [one.outcome for one in decide_comparisons(design, by_look, [0.0] * len(gaps))]
        if "undecided" not in outcomes:
            break
    return _judge(len(by_look[-1][0]), outcomes, effects)


def decide_once(gaps: Sequence[Sequence[float]], effects: Sequence[float], seeds: int) -> Decided:
    rulings = decide_comparisons(Design(), [[one[:seeds] for one in gaps]], [0.0] * len(gaps))
    return _judge(seeds, [one.outcome for one in rulings], effects)


def _judge(seeds: int, outcomes: Sequence[str], effects: Sequence[float]) -> Decided:
    true = [outcome for outcome, effect in zip(outcomes, effects, strict=True) if effect > 0]
    is_false = any(
        outcome == "lower" or (outcome == "higher" and effect == 0)
        for outcome, effect in zip(outcomes, effects, strict=True)
    )
    found = sum(one == "higher" for one in true) / len(true) if true else math.nan
    return Decided(seeds, is_false, found)


def _average(values: Iterator[float] | Iterator[bool]) -> float:
    return float(np.mean(list(values)))


def list_scenarios(studies: int, most: int) -> list[Scenario]:
    return [
        Scenario(noise, effects, studies, most)
        for several in PLANTED.values()
        for noise in NOISE
        for effects in several
    ]


def write_row(one: Measured) -> str:
    effects = one.scenario.effects
    planted = f"{effects[0]:g}" if len(set(effects)) == 1 else ", ".join(f"{e:g}" for e in effects)
    cells = [
        str(len(effects) + 1), one.scenario.noise, planted, f"{one.false_claims:.1%}", f"{one.fixed_false_claims:.1%}",
        _percent(one.power), _percent(one.fixed_power), f"{one.mean_seeds:.1f}", _percent(one.power_at_mean),
        f"{one.at_first:.0%}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sequential", description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES, help="per line (%(default)s)")
    parser.add_argument("--most", type=int, default=MOST, help="seeds of a study (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args()
    heads = [
        "arms", "noise", "planted", "false claims", f"… of {options.most} fixed", "power", f"… of {options.most} fixed",
        "mean seeds", "power of as many fixed", "stops at first look",
    ]  # fmt: skip
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    with ProcessPoolExecutor(options.processes) as pool:
        rows = pool.map(partial(measure), list_scenarios(options.studies, options.most))
        for row in rows:
            print(write_row(row), flush=True)


if __name__ == "__main__":
    main()
