#!/bin/sh
# torch 2.14.1, CPU: functional.group_norm on a float32 tensor in torch.channels_last takes the variance as
# E[x²] - E[x]², on a contiguous tensor with the same values it does not. At a mean of 1,000 standard deviations
# the same numbers come out wrong by more than 1 in one memory format and right to 0.001 in the other.
# Output seen: "contiguous 0.000090, channels_last 1.86" (largest error against float64; outputs are of unit scale).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'EOF'
import sys

import torch
from torch.nn.functional import group_norm

torch.set_num_threads(1)
x = torch.randn(8, 32, 16, 16, generator=torch.Generator().manual_seed(0)) + 1000
exact = group_norm(x.double(), 8)
contiguous, channels_last = (
    float((group_norm(x.contiguous(memory_format=one), 8) - exact).abs().max())
    for one in (torch.contiguous_format, torch.channels_last)
)
print(f"contiguous {contiguous:.6f}, channels_last {channels_last:.3g}")
sys.exit(not (contiguous < 0.001 and channels_last > 1))
EOF
