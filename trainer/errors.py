"""What the trainer refuses, told to the person who wrote the spec.

TrainerError
├── DataError      a dataset that cannot be read
│   ├── UnreadableImage   one of its images, which `unreadable: skip` leaves out
│   └── CutError          a dataset that cannot be cut as the spec asks
├── ModelError     a model that is unknown, or unfit for the images
├── SurgeryError   a norm that cannot take the place of the model's own
├── MachineError   a machine that lacks what the spec needs
└── RanksError     the processes of a training on several devices do not go on together
    └── RankOutOfMemory   one of them was killed for its memory
"""


class TrainerError(Exception):
    """The trainer cannot do what the spec asks."""


class DataError(TrainerError):
    """A dataset cannot be read, or cut as the spec asks."""


class UnreadableImage(DataError):
    """One image cannot be read, or is too large."""


class CutError(DataError):
    """A dataset cannot be cut as the spec asks; `pointer` is the field that would have to change."""

    def __init__(self, message: str, remedy: str, pointer: str) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.pointer = pointer


class ModelError(TrainerError):
    """The model is unknown, or unfit for the images; `pointer` is the field, `layer` where it broke."""

    def __init__(
        self, message: str, remedy: str, *, pointer: str = "/model/name", layer: str | None = None
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.pointer = pointer
        self.layer = layer


class SurgeryError(TrainerError):
    """A norm cannot take the place of this layer of the model."""

    def __init__(
        self, message: str, remedy: str, *, pointer: str = "/norm/kind", layer: str | None = None
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.pointer = pointer
        self.layer = layer


class MachineError(TrainerError):
    """This machine lacks what the spec needs; another one may have it."""


class RanksError(TrainerError):
    """The processes that train together, each on a device, do not go on together."""


class RankOutOfMemory(RanksError):
    """The kernel has killed one of the processes that train together, for its memory."""
