"""Equal tuning budgets: trials, what a search tries next, the setting that is chosen, and what fewer trials would have
come to."""

from studies.tuning.budget import BestOf, Lead, best_by_budget, leads
from studies.tuning.limits import TrialStop, read_trial_stop
from studies.tuning.recorded import ReplayedRule, read_replays
from studies.tuning.select import (
    UnheardRequest,
    add_cells,
    chosen_settings,
    continue_tuning,
    tuned_arms,
)
from studies.tuning.trials import TunedArm

__all__ = [
    "BestOf",
    "Lead",
    "ReplayedRule",
    "TrialStop",
    "TunedArm",
    "UnheardRequest",
    "add_cells",
    "best_by_budget",
    "chosen_settings",
    "continue_tuning",
    "leads",
    "read_replays",
    "read_trial_stop",
    "tuned_arms",
]
