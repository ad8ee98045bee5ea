"""One byte that the parent and all its children share: work is to be put down."""

import mmap


class Drain:
    """Made before the fork. Neither side ever waits: setting and reading a byte need no lock."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """Safe inside a signal handler."""
        self._shared[0] = 1

    @property
    def begun(self) -> bool:
        return self._shared[0] != 0
