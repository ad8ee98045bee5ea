#!/bin/sh
# timm 1.0.31: after freeze() and unfreeze(), a model in evaluation mode has its batch norms in training mode, and another momentum.
#
# Both replace the batch norm layers by new ones. A new module is in training mode, which the frozen one doesn't look at but
# the one that takes its place does: the model still says that it is in evaluation mode, but its predictions hang on the other
# images of the batch, and each prediction moves the running statistics. The new layers also have the default momentum of 0.1
# in place of the model's own. No parameter and no statistic has changed until then. convert_sync_batchnorm keeps both.
# Output seen: "before: model in training False, batch norms in training 0 of 49, momentum 0.01, error 0.00",
# "frozen: error 0.00", "unfrozen: model in training False, batch norms in training 49 of 49, momentum 0.1, error 4.47",
# "an image alone and in its batch: 3.74 apart"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile "timm==1.0.31" "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
cat >"$folder/unfreeze.py" <<'EOF'
import sys
import warnings

import timm
import torch
from timm.utils.model import freeze, unfreeze

warnings.filterwarnings("ignore")
torch.manual_seed(0)
x = torch.randn(4, 3, 64, 64) * 2 + 1
model = timm.create_model("efficientnet_b0", pretrained=False, num_classes=10, bn_momentum=0.01).train()
with torch.no_grad():
    for _ in range(3):
        model(x)
    model.eval()
    reference = model(x)


def describe(what: str) -> tuple[int, float]:
    norms = [one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    training = sum(one.training for one in norms)
    with torch.no_grad():
        error = float((model(x) - reference).abs().max())
    momentum = norms[0].momentum
    print(
        f"{what}: model in training {model.training}, batch norms in training {training} of {len(norms)}, "
        f"momentum {momentum}, error {error:.2f}"
    )
    return training, momentum


before = describe("before")
freeze(model)
with torch.no_grad():
    frozen_error = float((model(x) - reference).abs().max())
print(f"frozen: error {frozen_error:.2f}")
unfreeze(model)
after = describe("unfrozen")
with torch.no_grad():
    apart = float((model(x)[:1] - model(x[:1])).abs().max())
print(f"an image alone and in its batch: {apart:.2f} apart")
sys.exit(before != (0, 0.01) or frozen_error > 1e-4 or after != (49, 0.1) or apart < 0.1 or model.training)
EOF
"$folder/venv/bin/python" "$folder/unfreeze.py"
