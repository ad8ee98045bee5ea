#!/bin/sh
# torch 2.14.1, CPU: what batch norm gives in training mode for a float32 tensor in torch.channels_last depends on the
# number of threads, and for a channel that is 1234.567 throughout, where 0 is right, it is far from 0: its variance is
# what rounding left of the sums that the threads made of the rows they were given.
# With the same numbers in a contiguous tensor the result is the same with every number of threads, and near 0.
# Output seen (which figures channels_last gives varies with the processor):
# "threads 1: contiguous 0.0094, channels_last 0.96", "threads 2: contiguous 0.0094, channels_last 0.91",
# "threads 4: contiguous 0.0094, channels_last 0.7",
# "differ from one thread's: {'contiguous': 0, 'channels_last': 27858}, of 32768"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
cat >"$folder/threads.py" <<'EOF'
import sys

import torch
from torch.nn.functional import batch_norm

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
noise = torch.randn(32, 16, 8, 8, generator=torch.Generator().manual_seed(0))
constant = torch.full_like(noise, 1234.567)
largest, outputs = {}, {}
for threads in (1, 2, 4):
    torch.set_num_threads(threads)
    for layout, memory_format in LAYOUTS.items():
        inputs = (x.contiguous(memory_format=memory_format) for x in (constant, noise))
        flat, normal = (batch_norm(x, None, None, training=True) for x in inputs)
        largest[layout, threads] = float(flat.abs().max())
        outputs[layout, threads] = normal
    seen = ", ".join(f"{layout} {largest[layout, threads]:.2g}" for layout in LAYOUTS)
    print(f"threads {threads}: {seen}")
differing = {layout: int((outputs[layout, 4] != outputs[layout, 1]).sum()) for layout in LAYOUTS}
print(f"differ from one thread's: {differing}, of {noise.numel()}")
near_zero = all(largest["contiguous", threads] < 0.02 for threads in (1, 2, 4))
far_from_zero = largest["channels_last", 1] > 0.3
sys.exit(not (near_zero and far_from_zero and not differing["contiguous"] and differing["channels_last"] > 1000))
EOF
"$folder/venv/bin/python" "$folder/threads.py"
