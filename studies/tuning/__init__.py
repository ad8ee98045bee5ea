"""Equal tuning budgets: trials, what a search tries next, the setting that is chosen, and what fewer trials would have
come to."""

from studies.tuning.budget import BestOf, Lead, best_by_budget, leads
from studies.tuning.importance import BEST_SHARE
from studies.tuning.importance import ENOUGH_TRIALS as ENOUGH_FOR_IMPORTANCE
from studies.tuning.limits import TrialStop, read_trial_stop
from studies.tuning.recorded import ReplayedRule, read_replays
from studies.tuning.select import (
    UnheardRequest,
    add_cells,
    chosen_settings,
    continue_tuning,
    count_search_trials,
    is_halted,
    read_searched,
    tuned_arms,
)
from studies.tuning.trials import OWN_FAILURES, Tried, TunedArm

__all__ = [
    "BEST_SHARE",
    "ENOUGH_FOR_IMPORTANCE",
    "OWN_FAILURES",
    "BestOf",
    "Lead",
    "ReplayedRule",
    "TrialStop",
    "Tried",
    "TunedArm",
    "UnheardRequest",
    "add_cells",
    "best_by_budget",
    "chosen_settings",
    "continue_tuning",
    "count_search_trials",
    "is_halted",
    "leads",
    "read_replays",
    "read_searched",
    "read_trial_stop",
    "tuned_arms",
]
