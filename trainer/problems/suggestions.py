"""Suggests the name that was probably meant by one that doesn't exist."""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

_CUTOFF = 0.6
#: A longer word is no misspelt name, and takes long to compare.
_LONGEST = 200
#: The end of what torch and papers call a norm.
_NORM = re.compile(r"[_ -]?norm(?:alization)?[_ -]?(?:\dd)?$")
#: A message lists at most this many names.
MOST_NAMES = 30

# A spec may name any model that the installed torchvision has. This list is for messages alone, which
# are written where no torch is loaded: one of these is suggested where its prefix is missing.
_NAMES = """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169
    densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
    efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s
    googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf
    regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf
    regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50
    resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0
    shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b
    swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32
    vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
"""
#: torchvision's models for image classification.
TORCHVISION = frozenset(_NAMES.split())


def did_you_mean(word: object, names: Iterable[str]) -> str:
    """`; did you mean 'group'?` to end a sentence with; nothing where no name is near, or the word is a name."""
    near = nearest(word, {name: name for name in names})
    return "" if near is None or near == word else f"; did you mean {near!r}?"


def nearest(word: object, names: Mapping[str, str]) -> str | None:
    """The value of the key that is nearest to the word, in upper or lower case; of `BatchNorm2d` to `batch`."""
    if not isinstance(word, str) or len(word) > _LONGEST:
        return None
    near = _nearest(word.lower(), tuple(names))
    return names[near] if near is not None else None


@lru_cache(maxsize=1000)
def _nearest(word: str, names: tuple[str, ...]) -> str | None:
    """Remembered, since the arms of a large study make the same mistake thousands of times."""
    spellings = {word, _NORM.sub("", word) or word}
    ratios = {name: max(_ratio(name, one) for one in spellings) for name in names}
    best = max(ratios, key=ratios.__getitem__, default=None)
    return best if best is not None and ratios[best] >= _CUTOFF else None


def _ratio(name: str, word: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), word).ratio()


def listed(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """`a, b, c`, cut off where there are too many to read."""
    every = list(names)
    more = f", … ({len(every)} in all)" if len(every) > most else ""
    return ", ".join(every[:most]) + more
