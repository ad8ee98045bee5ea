"""A small vision transformer."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.errors import ModelError
from trainer.layers import BranchSite, DropSite, HeadSite
from trainer.models.cnn_mlp_resnet import Shape
from trainer.spec import VitSmall


def build_vit_small(spec: VitSmall, shape: Shape, outputs: int) -> nn.Module:
    """N, C, H, W → N, outputs. Raises ModelError where patches do not cover the image."""
    _, height, width = shape
    if height % spec.patch or width % spec.patch:
        raise ModelError(
            f"patch must divide the {height}×{width} pixels of the images but is {spec.patch}",
            "another patch, or another dataset.image_size",
            pointer="/model/patch",
        )
    return VisionTransformer(spec, shape, outputs)


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021, arXiv 2010.11929, with the mean of the tokens in the place of a class token."""

    def __init__(self, spec: VitSmall, shape: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        tokens = (height // spec.patch) * (width // spec.patch)
        self.patches = nn.Conv2d(channels, spec.width, spec.patch, spec.patch)
        self.position = nn.Parameter(torch.empty(tokens, spec.width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(*(Block(spec.width, spec.heads) for _ in range(spec.depth)))
        self.norm = nn.LayerNorm(spec.width)
        self.head_dropout = HeadSite()
        self.classifier = nn.Linear(spec.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        tokens = self.norm(self.blocks(tokens))
        return self.classifier(self.head_dropout(tokens.mean(1)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a perceptron, each on normalized tokens N, L, C and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.branch1 = BranchSite()
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, 4 * width)
        self.activation = nn.GELU()
        self.dropout = DropSite()
        self.linear2 = nn.Linear(4 * width, width)
        self.branch2 = BranchSite()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.branch1(self.attention(self.norm1(x)))
        hidden = self.dropout(self.activation(self.linear1(self.norm2(x))))
        return x + self.branch2(self.linear2(hidden))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Scaled dot products between tokens, by heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs(x).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
