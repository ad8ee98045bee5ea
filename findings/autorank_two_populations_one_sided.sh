#!/bin/sh
# autorank 1.3.0: two populations that it takes for normal are compared by a two-sided paired t-test, two others by a
# one-sided Wilcoxon test towards the larger median, which it reads off the same data. Of equal populations that are
# not normal, nearly twice as many as alpha are told apart. Its report words it as "is not greater than", and says nothing
# of where the direction came from.
# Output seen (400 draws of 16 pairs, both populations alike, skewed, alpha 0.05):
# "taken for not normal 204, told apart 18: 0.088; two-sided 9: 0.044"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "autorank==1.3.0" "numpy==2.4.6" "scipy==1.17.1" "pandas==3.1.1" "statsmodels==0.15.0"
cat >"$folder/alarms.py" <<'EOF'
import contextlib
import io
import sys
import warnings

import numpy as np
import pandas as pd
from autorank import autorank
from scipy import stats

warnings.simplefilter("ignore")
generator = np.random.default_rng(0)
skewed = apart = two_sided = 0
for _ in range(400):
    shared = 0.9 - 0.02 * generator.standard_exponential(16)
    one, other = (shared - 0.02 * generator.standard_exponential(16) for _ in range(2))
    with contextlib.redirect_stdout(io.StringIO()):
        result = autorank(pd.DataFrame({"one": one, "other": other}), alpha=0.05)
    if result.omnibus == "wilcoxon":
        skewed += 1
        apart += result.pvalue < 0.05
        two_sided += stats.wilcoxon(one, other).pvalue < 0.05
print(f"taken for not normal {skewed}, told apart {apart}: {apart / skewed:.3f}; ", end="")
print(f"two-sided {two_sided}: {two_sided / skewed:.3f}")
sys.exit(not (skewed > 150 and apart >= 1.5 * two_sided))
EOF
"$folder/venv/bin/python" "$folder/alarms.py"
