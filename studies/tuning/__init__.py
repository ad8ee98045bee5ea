"""Equal tuning budgets: trials, what a search tries next, and the setting that is chosen."""

from studies.tuning.select import chosen_settings, continue_tuning, tuned_arms
from studies.tuning.trials import TunedArm

__all__ = [
    "TunedArm",
    "chosen_settings",
    "continue_tuning",
    "tuned_arms",
]
