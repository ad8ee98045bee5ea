#!/bin/sh
# timm 1.0.31, torch 2.14.1: importing timm.optim, for any one of its optimizers, changes torch's compiler for the whole
# process. A line at the top of its module for Kron sets the limit of recompilations per function to a million. A model
# that is trained at one depth after the other, which torch.compile gives up on after eight depths, with a warning, is
# then compiled anew for each of them, without end and without a word.
# Output seen: "limit 8, variants compiled 8", "after `import timm.optim`: limit 1000000, variants compiled 12"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "timm==1.0.31" "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
cat >"$folder/compile.py" <<'EOF'
import sys

import torch
import torch._dynamo

if sys.argv[1:] == ["timm"]:
    import timm.optim  # noqa: F401

variants = []


def compiler(graph, _inputs):
    variants.append(graph)
    return graph.forward


class Deepening(torch.nn.Module):
    depth = 0

    def forward(self, x):
        for _ in range(self.depth):
            x = x + 1
        return x


model = Deepening()
compiled = torch.compile(model, backend=compiler)
for model.depth in range(1, 13):
    assert float(compiled(torch.zeros(()))) == model.depth
print(f"limit {torch._dynamo.config.recompile_limit}, variants compiled {len(variants)}")
sys.exit((torch._dynamo.config.recompile_limit, len(variants)) != ((1_000_000, 12) if sys.argv[1:] else (8, 8)))
EOF
"$folder/venv/bin/python" "$folder/compile.py"
printf 'after `import timm.optim`: '
"$folder/venv/bin/python" "$folder/compile.py" timm
