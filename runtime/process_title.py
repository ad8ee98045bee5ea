"""What others see of a forked process: the command line and environment of what it runs, not of what forked it."""

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Fields of /proc/PID/stat after the name of the program: where arguments and environment lie.
_ARGUMENTS, _ENVIRONMENT = slice(45, 47), slice(47, 49)


def set_title(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Writes both over those that this process began with, as far as there is room: see `make_room`.

    The process itself must not read the originals any more: `os.environ` was cleared and set anew.
    """
    set_arguments(arguments)
    begin, end = _place(_ENVIRONMENT)
    lines = b"".join(os.fsencode(f"{name}={value}\0") for name, value in environment.items())
    _write(begin, end, lines, last=b"\0")


def set_arguments(arguments: Sequence[str]) -> None:
    """Of the two, only the command line."""
    begin, end = _place(_ARGUMENTS)
    _write(begin, end, os.fsencode(" ".join(arguments)), last=b".")


def _place(field: slice) -> tuple[int, int]:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = (int(number) for number in fields[field])
    return begin, end


def _write(begin: int, end: int, content: bytes, *, last: bytes) -> None:
    # Some kernels, such as gVisor's, don't say where they lie.
    if end - begin < 2:
        return
    # The kernel takes arguments that don't end with a zero for one text, up to the first zero.
    room = end - begin - 2
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, content[:room], min(room, len(content)))
    ctypes.memmove(end - 1, last, 1)


def make_room(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that forks others, with room for theirs."""
    return {**environment, "NORMLAB_ROOM": "." * 8192}


#: Arguments that only make room for those of forked processes.
ROOM = "." * 1024
