"""Values set in a document before it is read."""

from typing import Any

import pytest

from studies.spec.overrides import OverrideError, override, pointer_of

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
        ("name.first=x", "'name.first=x': name has no field 'first': it is 'norms'"),
        (
            "base.regularization.1.p=0",
            "base.regularization has no item '1': it has 1, counted from 0",
        ),
        ("base.dataset.0=x", "base.dataset has no item '0': it is empty"),
        ("variants.nane.norm.kind=batch", "there is no variant 'nane'; the variants are none"),
        ("seeds=[1", "'seeds=[1' has a value that can't be read: broken YAML"),
        (f"{'.'.join('a' * 1200)}=1", "its path has 1200 parts, and a document is at most 50 deep"),
        (f"name={'[' * 50}{']' * 50}", "nested more than 50 deep"),
    ],
)
def test_a_setting_that_cannot_be_applied_is_named(setting: str, message: str) -> None:
    with pytest.raises(OverrideError) as refused:
        override(DOCUMENT, [setting])
    assert message in str(refused.value)


def test_settings_that_are_too_much_only_together_are_refused() -> None:
    deep = ".".join("a" * 40)
    with pytest.raises(OverrideError, match="nested more than 50 deep"):
        override(DOCUMENT, [f"{deep}=1", f"{deep}={'[' * 20}{']' * 20}"])
    anchor = "&a [" + ",".join("x" * 1000) + "]"
    large = f"note=[{anchor}, {', '.join(['*a'] * 150)}]"
    override(DOCUMENT, [large])
    with pytest.raises(OverrideError, match="more than 200000 values"):
        override(DOCUMENT, [large, large.replace("note", "other")])


@pytest.mark.parametrize(
    ("setting", "pointer"),
    [
        ("base.optimizer.lr=1=2", "/base/optimizer/lr"),
        ("matrix.training.batch_size=[8]", "/matrix/training.batch_size"),
        (" base.a/b~c =1", "/base/a~1b~0c"),
    ],
)
def test_a_setting_has_a_pointer_into_the_document(setting: str, pointer: str) -> None:
    assert pointer_of(setting) == pointer
