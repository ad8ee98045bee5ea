#!/bin/sh
# torch 2.14.1, CPU, eager mode only: torch.use_deterministic_algorithms() imports torch._inductor, torch._dynamo
# and sympy, some 900 modules, to write one flag of the compiler's configuration. set_deterministic_debug_mode(),
# which sets the same state, imports none of them. Without either, the constructor of an optimizer imports
# torch._dynamo, to tell a compiler that nobody uses to leave add_param_group() alone.
# Output seen (modules, CPU seconds): "use_deterministic_algorithms +893 1.46", "set_deterministic_debug_mode +0 0.00",
# "SGD +893 1.25"; each in a process of its own that had imported torch.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
cat >"$folder/measure.py" <<'EOF'
import sys
import time

import torch

weight = torch.nn.Parameter(torch.zeros(1))
actions = {
    "use_deterministic_algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "set_deterministic_debug_mode": lambda: torch.set_deterministic_debug_mode("warn"),
    "SGD": lambda: torch.optim.SGD([weight], lr=0.1),
}
before, began = len(sys.modules), time.process_time()
actions[sys.argv[1]]()
print(f"{sys.argv[1]} +{len(sys.modules) - before} {time.process_time() - began:.2f}")
if sys.argv[1] != "SGD":
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
imports_compiler = "torch._dynamo" in sys.modules
sys.exit(imports_compiler != (sys.argv[1] != "set_deterministic_debug_mode"))
EOF
for action in use_deterministic_algorithms set_deterministic_debug_mode SGD; do
  "$folder/venv/bin/python" "$folder/measure.py" "$action"
done
