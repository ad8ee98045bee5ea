#!/bin/sh
# torch 2.14.1: AveragedModel with use_buffers=True averages batch norm's counter of batches (int64) as it does weights, and
# rounds the result down: with the default average it stays at 1 for ever. With momentum=None that counter is the divisor
# of the running statistics, so the first batch that the averaged model then sees in training mode counts for a half,
# where after 900 batches it should count for one in 901.
# Output seen: "batches counted: model 900, averaged 1",
# "running mean of N(5, 1), one batch of N(105, 1) later: model 5.11, averaged 55.06"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
cat >"$folder/count.py" <<'EOF'
import sys

import torch
from torch.optim.swa_utils import AveragedModel

generator = torch.Generator().manual_seed(0)
model = torch.nn.BatchNorm1d(3, momentum=None)
averaged = AveragedModel(model, use_buffers=True)
for _ in range(900):
    model(torch.randn(64, 3, generator=generator) + 5)
    averaged.update_parameters(model)
counted = int(model.num_batches_tracked), int(averaged.module.num_batches_tracked)
print("batches counted: model {}, averaged {}".format(*counted))
batch = torch.randn(64, 3, generator=generator) + 105
model(batch)
averaged(batch)
means = float(model.running_mean.mean()), float(averaged.module.running_mean.mean())
print("running mean of N(5, 1), one batch of N(105, 1) later: model {:.2f}, averaged {:.2f}".format(*means))
sys.exit(not (counted == (900, 1) and means[0] < 6 and means[1] > 50))
EOF
"$folder/venv/bin/python" "$folder/count.py"
