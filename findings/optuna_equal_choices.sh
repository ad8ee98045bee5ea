#!/bin/sh
# optuna 5.0.0: a study records another choice than the trial was given, where two choices are equal by value. Of
# ["off", True, 1, 2] a sampler draws each place alike, the objective receives 1 and `trial.params` within it says 1; what
# the study keeps is the place of the first choice that is equal, so `study.trials` and `best_params` say True. Without
# a warning the best trial can't be run again from what is written of it.
# Output seen: "the objective received 1 in the best trial, best_params says True",
# "received: {'True': 24, '2': 23, 'off': 26, '1': 27}, recorded: {'True': 51, '2': 23, 'off': 26}"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "optuna==5.0.0" "numpy==2.4.6"
cat >"$folder/search.py" <<'EOF'
import sys
from collections import Counter

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
CHOICES = ["off", True, 1, 2]
received = []


def objective(trial: optuna.Trial) -> float:
    augment = trial.suggest_categorical("augment", CHOICES)
    assert trial.params["augment"] is augment
    received.append(str(augment))
    return {"off": 3.0, "True": 2.0, "1": 1.0, "2": 4.0}[str(augment)]


study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
study.optimize(objective, n_trials=100)
recorded = [str(trial.params["augment"]) for trial in study.trials]
best = received[study.best_trial.number], str(study.best_params["augment"])
print(f"the objective received {best[0]} in the best trial, best_params says {best[1]}")
print(f"received: {dict(Counter(received))}, recorded: {dict(Counter(recorded))}")
sys.exit(not (best == ("1", "True") and "1" in received and "1" not in recorded))
EOF
"$folder/venv/bin/python" "$folder/search.py"
