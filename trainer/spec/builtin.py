"""The datasets that come with Normlab, as registration would describe them. Imports no torch."""

from collections.abc import Mapping
from types import MappingProxyType

from trainer.spec.dataset import DatasetInfo

#: By name. A test decodes each and compares.
BUILT_IN: Mapping[str, DatasetInfo] = MappingProxyType(
    {
        "digits": DatasetInfo(
            name="digits",
            digest="3a449d94ba877b5cfc95a5b12da594a7",
            shape=(1, 8, 8),
            classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
            train_size=1797,
            test_size=None,
            mean=(0.30530871850687963,),
            std=(0.37588591196534626,),
        )
    }
)
