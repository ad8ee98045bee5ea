#!/bin/sh
# timm 1.0.31: ModelEmaV3 averages what two layers share twice a step, and with a dtype of its own into something that is no average.
#
# It walks over state_dict(), which has a shared parameter or buffer under each of its names. A decay of 0.9 is 0.81 for it
# then. Kept in another dtype (ModelEmaV3(model, dtype=torch.float64), for precision), the tensors are first scaled and then
# added to, all at once: both twice, so that the weights of old and new are 0.81 and 0.2, and the average of a weight that
# is 1 at every step tends to 1.053. ModelEmaV2 walks likewise. With exclude_buffers=True, and in torch's AveragedModel,
# each is averaged once.
# Output seen: "one step from 1 to 11: shared 2.90, alone 2.00; exclude_buffers: shared 2.00; torch: shared 2.00",
# "a weight that stays 1, after 100 steps: shared 1.053, alone 1.000"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile "timm==1.0.31" "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
cat >"$folder/ema.py" <<'EOF'
import sys

import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GroupNorm(1, 4)
        self.second = self.first
        self.alone = nn.GroupNorm(1, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.alone(self.second(self.first(x)))


def values(average: nn.Module) -> tuple[float, float]:
    return float(average.first.weight.detach()[0]), float(average.alone.weight.detach()[0])


def step(**options: object) -> tuple[float, float]:
    model = Net()
    average = ModelEmaV3(model, decay=0.9, **options)
    for parameter in model.parameters():
        parameter.data.fill_(11)
    average.update(model)
    return values(average.module)


model = Net()
averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
averaged.update_parameters(model)
for parameter in model.parameters():
    parameter.data.fill_(11)
averaged.update_parameters(model)
both, without_buffers, torchs = step(), step(exclude_buffers=True), values(averaged.module)
print(
    f"one step from 1 to 11: shared {both[0]:.2f}, alone {both[1]:.2f}; exclude_buffers: shared "
    f"{without_buffers[0]:.2f}; torch: shared {torchs[0]:.2f}"
)
model = Net()
precise = ModelEmaV3(model, decay=0.9, dtype=torch.float64)
for _ in range(100):
    precise.update(model)
stays = values(precise.module)
print(f"a weight that stays 1, after 100 steps: shared {stays[0]:.3f}, alone {stays[1]:.3f}")


def near(pair: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(one - two) < 5e-3 for one, two in zip(pair, other, strict=True))


expected = near(both, (2.9, 2.0)) and near(without_buffers, (2.0, 2.0)) and near(torchs, (2.0, 2.0))
sys.exit(not (expected and near(stays, (1.053, 1.0))))
EOF
"$folder/venv/bin/python" "$folder/ema.py"
