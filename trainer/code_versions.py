"""Which versions of the trainer's code give equal results.

A training records the digest of the code that it ran (`trainer.training.code_digest`). Digests of one generation
give the same weights and metrics, digit by digit, so a difference between them is none: no confound, no warning.
"""

from collections.abc import Mapping
from typing import Any

#: Digest → generation, in order of time; the last is today's code. A digest that is missing counts as a
#: generation of its own. `python -m tests.support.pin_code` adds one.
GENERATIONS: Mapping[str, int] = {
    # Of the files' bytes and names, as digests were before they were of syntax trees.
    "082093b3ecca72f39089bf0693de2753": 1,
    "5e7069f276dad9130f336402b94b5699": 1,
    "c4baf0d0d48817eec31e67f7315993fb": 1,
    "71c13b7d363bc50d13fd1cab99a0f195": 1,
    "8d5cb7cb54e7715326153f78711a5220": 1,
    "a4dc0ab62249e376aa1ff90ddd014a76": 1,
    "38f1b438647dddd6ce62036469a8253f": 2,
    "8475d002702d4ac3b6119b3f35427dc4": 2,
    "9cb521b36e930eae1d9415e736739d91": 2,
    "d58583d23da6bd6ffaa0dad967a63f00": 2,
    "1fdc0187966371ac7032db1a374b4770": 2,
    "d3af96569a992720c65a9e833d472bf6": 2,
    "8cf7325493421d353c2c5d6263be17a4": 2,
    "117906b65c84847e0144f6165c5db4e3": 2,
    "f75fbc6e3b9538de6ce6d338a1589818": 2,
    "d63da55a8692c8c4c2db0d0e4e97df78": 2,
    "cae304affa1b2e6e21943c605ab61571": 2,
    "5ef3515c0f6214f08df35d135a7c2b8a": 2,
    "f50fb3d714ef59c266b256d5dc22544e": 2,
    "401c9394c38ab70dde54923eb09e7787": 2,
    "1d77cc0c78b184d330a2e1b926cc1cff": 2,
    "b9c4a7566595388a44c96171344491b8": 2,
    "5158cda6a13fe58a1067cc40d3b69b13": 2,
    "d7bf235295f090519a62e246bda83366": 2,
    "c5cdd5ae01367d93ccf846eb09f6770c": 2,
    "b01a38c5221209e03d422ebc3e0f2459": 2,
    "1c7136a9a8eaec1b66f73edd005a2081": 2,
    "7668088de74fcef8840a94ffd7b2d8a2": 2,
    "c1e1af28de56accc3ad600bd68e7bbe6": 2,
    "1b73e74509cea9911c6f10a03a503474": 2,
    "75ab2963d19d2920c479e43640304cd7": 2,
    "92fa70ae1b7a1186ce9bf277623e2d89": 2,
    "48cbf18886d5450d4fe44ed84e297525": 2,
    "b39a9502833c5145129f1b8829ef429a": 2,
    "38872b1abd96f730d9fdaaca12f78b7f": 2,
    "eafb0a4fbe096fa59044fcec1f529094": 2,
    "a34fc192b254db12791233a25d4bfc6e": 2,
}


def with_generation(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The environment of a training, its code named by its generation if that is known."""
    generation = GENERATIONS.get(environment.get("code", ""))
    return dict(environment) | ({"code": f"generation {generation}"} if generation else {})
