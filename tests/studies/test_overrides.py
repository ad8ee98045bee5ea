"""Values set in a document before it is read."""

from typing import Any

import pytest

from studies.overrides import OverrideError, override

DOCUMENT: dict[str, Any] = {
    "name": "norms",
    "base": {"optimizer": {"kind": "sgd", "lr": 0.05}, "regularization": [{"p": 0.2}]},
    "variants": {"none": {"norm": {"kind": "none"}}},
    "matrix": {"training.batch_size": [64]},
}


def test_values_are_yaml_and_are_set_at_their_paths() -> None:
    changed = override(
        DOCUMENT,
        [
            "base.optimizer.lr=5e-4",
            "base.regularization.0.p=0.5",
            "variants.none.model={width: 8}",
            "base.training.epochs=3",
            "matrix.training.batch_size=[8, 4]",
            "name=a=b",
        ],
    )
    assert changed["base"] == {
        "optimizer": {"kind": "sgd", "lr": 0.0005},
        "regularization": [{"p": 0.5}],
        "training": {"epochs": 3},
    }
    assert changed["variants"] == {"none": {"norm": {"kind": "none"}, "model": {"width": 8}}}
    assert changed["matrix"] == {"training.batch_size": [8, 4]}
    assert changed["name"] == "a=b"
    assert DOCUMENT["base"]["optimizer"]["lr"] == 0.05


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("base.optimizer.lr", "must be PATH=VALUE, such as seeds=16, but got 'base.optimizer.lr'"),
        ("=3", "must be PATH=VALUE"),
        ("name.first=x", "'name.first=x' leads nowhere at 'first': name is 'norms'"),
        ("base.regularization.1.p=0", "leads nowhere at '1': base.regularization has 1 items"),
        ("variants.nane.norm.kind=batch", "there is no variant 'nane', but none"),
        ("seeds=[1", "'seeds=[1' has a value that can't be read: broken YAML"),
    ],
)
def test_a_setting_that_leads_nowhere_is_named(setting: str, message: str) -> None:
    with pytest.raises(OverrideError) as refused:
        override(DOCUMENT, [setting])
    assert message in str(refused.value)
