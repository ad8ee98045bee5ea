"""How much each range of a search mattered in an arm: for a setting to be among the arm's best.

PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), Optuna's: it compares where the best trials lie in a range with where all
do. A range that only some of the trials have is weighed by those that have it (arXiv 2601.20800). Nothing is drawn at
random.
"""

import math
import warnings
from collections.abc import Mapping, Sequence

from studies.spec import Search
from studies.tuning.optuna_trials import TriedSetting, make_trial

#: The best are the best quarter: of twenty trials five, which the method asks for at least.
BEST_SHARE = 0.25
ENOUGH_TRIALS = 20
#: Of fewer nothing is said.
FEWEST_TRIALS = 8


def measure_importance(search: Search, tried: Sequence[TriedSetting]) -> Mapping[str, float]:
    """By path, adding up to 1; none where there are too few trials, or nothing mattered. What was stopped, has failed or
    has no value is none of the best."""
    costs = [None if trial.stopped is not None else trial.cost for trial in tried]
    finite = [cost for cost in costs if cost is not None]
    # All of the best must have a cost, and so must others, or which is the best isn't known.
    if len(tried) < FEWEST_TRIALS or len(finite) <= math.ceil(BEST_SHARE * len(tried)):
        return {}
    worst = max(finite) + 1.0
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    for trial, cost in zip(tried, costs, strict=True):
        ended = TriedSetting(trial.setting, worst if cost is None else cost)
        study.add_trial(make_trial(search, ended))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    with warnings.catch_warnings():
        # What is too little to rest on is told with the shares.
        warnings.simplefilter("ignore")
        divergences = evaluator.evaluate(study)
    total = math.fsum(divergences.values())
    if not total > 0:
        return {}
    # Optuna's order is that of a set.
    return {path: divergences[path] / total for path in sorted(divergences)}
