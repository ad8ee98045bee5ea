"""Warnings about what is dropped: too much, twice, or something other than the name says."""

import pytest

from tests.support.spec_checks import (
    RECONSTRUCTION,
    SMALL,
    assert_no_warnings,
    assert_warned_about_by_this_check_alone,
    dropout,
    name_case,
)
from tests.support.trainer_specs import DIGITS
from trainer.checks.dropout import (
    warn_blocks_cover_maps,
    warn_denoising_autoencoder,
    warn_drop_block_without_ramp,
    warn_high_drop_rate,
    warn_several_dropouts,
    warn_timm_drop_connect,
)

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (
        warn_several_dropouts,
        {
            "regularization": [{"kind": "dropout", "p": 0.1}, {"kind": "drop_connect", "p": 0.1}],
            "norm": {"kind": "layer"},
        },
        DIGITS,
        "dropout and drop_connect drop",
    ),
    (
        warn_several_dropouts,
        {
            "regularization": [
                {"kind": "spatial_dropout", "p": 0.1},
                {"kind": "drop_block", "p": 0.1, "block_size": 2},
            ],
            "norm": {"kind": "layer"},
        },
        DIGITS,
        "spatial_dropout and drop_block drop",
    ),
    (
        warn_blocks_cover_maps,
        {"regularization": [{"kind": "drop_block", "p": 0.1}], "norm": {"kind": "layer"}},
        DIGITS,
        "covers maps of 2 pixels",
    ),
    (
        warn_blocks_cover_maps,
        {
            "regularization": [{"kind": "drop_block", "p": 0.1, "block_size": 9}],
            "norm": {"kind": "layer"},
        },
        SMALL,
        "9×9 covers maps of 8",
    ),
    *(
        (
            warn_denoising_autoencoder,
            {
                "model": {"name": "autoencoder", "hidden": hidden},
                "norm": {"kind": "none"},
                **RECONSTRUCTION,
                "regularization": [{"kind": "dropout", "p": 0.0, "input_p": 0.2}],
            },
            DIGITS,
            "a denoising one",
        )
        for hidden in (8, 16)
    ),
    *(
        (warn_high_drop_rate, {"regularization": [part], "norm": {"kind": "layer"}}, DIGITS, words)
        for part, words in (
            ({"kind": "dropout", "p": 0.8}, "dropout with p 0.8 keeps 20%"),
            ({"kind": "dropout", "p": 0.5, "input_p": 0.8}, "it is 0.2 here"),
            ({"kind": "spatial_dropout", "p": 0.9}, "spatial_dropout with p 0.9 keeps 10%"),
        )
    ),
    *(
        (
            warn_drop_block_without_ramp,
            {
                "regularization": [{"kind": "drop_block", "p": p, "block_size": 2}],
                "norm": {"kind": "layer"},
            },
            DIGITS,
            f"drops {p} from the first step on",
        )
        for p in (0.1, 0.2)
    ),
    *(
        (
            warn_timm_drop_connect,
            {
                "model": {"name": model},
                "norm": {"kind": "layer", "axes": "channels"},
                "regularization": [{"kind": "drop_connect", "p": 0.1}],
            },
            SMALL,
            "what timm calls drop_connect skips branches",
        )
        for model in ("timm:resnet18", "timm:efficientnet_b0")
    ),
]

UNWARNED = [
    dropout("head"),
]


@pytest.mark.parametrize("case", WARNED, ids=name_case)
def test_a_doubtful_spec_is_warned_about_by_this_check_alone(monkeypatch, case):
    assert_warned_about_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("options", UNWARNED)
def test_a_sound_spec_has_no_warnings(options):
    assert_no_warnings(options)
