#!/bin/sh
# timm 1.0.31, torch 2.14.1: torch.nn.SyncBatchNorm.convert_sync_batchnorm takes the activations out of timm's models. timm's
# BatchNormAct2d is a torch BatchNorm2d that holds the activation behind the norm; torch puts a bare norm in its place.
# No warning, no error: parameters and state dict are the same, an efficientnet_b0 runs 16 of its 49 activations, and gives
# other outputs for the same weights. resnet18, whose activations are modules beside the norm, is left as it was, and
# timm.layers.convert_sync_batchnorm keeps them all.
# Output seen: "efficientnet_b0: activations 49, after torch's 16, after timm's 49; same keys True",
# "resnet18: activations 17, after torch's 17, after timm's 17; same keys True"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "timm==1.0.31" "torch==2.14.1" "torchvision==0.29.1" "numpy==2.4.6"
cat >"$folder/count.py" <<'EOF'
import copy
import sys

import timm
import torch
from timm.layers import convert_sync_batchnorm

image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def activations(model: torch.nn.Module) -> int:
    calls = []
    for module in model.modules():
        if isinstance(module, torch.nn.SiLU | torch.nn.ReLU):
            module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(image)
    return len(calls)


def count(name: str) -> tuple[int, int, int]:
    original = timm.create_model(name).eval()
    by_torch = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(original))
    by_timm = convert_sync_batchnorm(copy.deepcopy(original))
    same_keys = list(original.state_dict()) == list(by_torch.state_dict())
    counts = activations(original), activations(by_torch), activations(by_timm)
    print(f"{name}: activations {counts[0]}, after torch's {counts[1]}, after timm's {counts[2]}; same keys {same_keys}")
    return counts


sys.exit((count("efficientnet_b0"), count("resnet18")) != ((49, 16, 49), (17, 17, 17)))
EOF
"$folder/venv/bin/python" "$folder/count.py"
