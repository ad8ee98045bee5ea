#!/bin/sh
# torch 2.14.1, CPU, contiguous float32: group norm of a constant is 0 without affine parameters, and 0.0094 with a weight of
# ones and a bias of zeros, which change nothing by the formula. The first subtracts the mean and multiplies; the
# second multiplies the input by weight / deviation and adds a shift that was rounded by itself: at a deviation of
# sqrt(eps) that rounding is magnified 316 times. Likewise with one value per group (batch of vectors, as many groups as
# channels), whose output is 0 by definition. layer_norm gives 0 either way; instance_norm gives 0.0094 either way.
# Output seen: "group_norm: plain 0, weight of ones 0.0094", "one value per group: plain 0, weight of ones 0.002",
# "layer_norm: plain 0, weight of ones 0", "instance_norm: plain 0.0094, weight of ones 0.0094"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
cat >"$folder/affine.py" <<'EOF'
import sys

import torch
from torch.nn import functional as F

constant = torch.full((4, 8, 16), 1234.567)
vectors = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) * 10 + 100
cases = {
    "group_norm": (F.group_norm, constant, 4, 8),
    "one value per group": (F.group_norm, vectors, 32, 32),
    "layer_norm": (F.layer_norm, constant, (16,), 16),
    "instance_norm": (lambda x, _, weight, bias: F.instance_norm(x, weight=weight, bias=bias), constant, None, 8),
}
seen = {}
for name, (norm, x, shape, size) in cases.items():
    plain = float(norm(x, shape, None, None).abs().max())
    affine = float(norm(x, shape, torch.ones(size), torch.zeros(size)).abs().max())
    seen[name] = plain > 1e-3, affine > 1e-3
    print(f"{name}: plain {plain:.2g}, weight of ones {affine:.2g}")
expected = [(False, True), (False, True), (False, False), (True, True)]
sys.exit(list(seen.values()) != expected or F.group_norm(vectors, 32).any().item())
EOF
"$folder/venv/bin/python" "$folder/affine.py"
