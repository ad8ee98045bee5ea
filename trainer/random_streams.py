"""Named random streams: each use of chance has a seed of its own.

The streams are `init`, `weights`, `order`, `augmentation`, `mixing`, `dropout`, `gradient_noise`,
`diagnostics`, `mc_dropout`, `split` and `shift`. Seeds come from blake2b, not
from Python's `hash`, which differs between processes.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch


def stream_seed(stream: str, seed: int, step: int = 0) -> int:
    """A 63-bit seed for this stream at this step; neighbours in any argument are unrelated."""
    # The separators keep the parts apart: without them seed 1 at step 12 and seed 11 at step 2
    # would be one stream. The shift leaves 63 bits, a number that a signed integer of 64 bits can
    # hold.
    digest = hashlib.blake2b(f"{stream}\0{seed}\0{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(stream: str, seed: int, step: int = 0) -> torch.Generator:
    """A CPU generator at the start of this stream, for libraries that take one."""
    made = torch.Generator()
    made.manual_seed(stream_seed(stream, seed, step))
    return made


def seed_globals(stream: str, seed: int, step: int = 0) -> None:
    """Python's, NumPy's and torch's global generators (every device in use), for code that takes none."""
    value = stream_seed(stream, seed, step)
    random.seed(value)
    # NumPy's legacy generator takes seeds of 32 bits.
    numpy.random.seed(value % 2**32)
    # torch.manual_seed also writes a stack trace for every kind of device that isn't in use.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(value)


@contextmanager
def seeded(stream: str, seed: int) -> Iterator[None]:
    """The global CPU generators at the start of this stream inside, as they were before after it."""
    python, array = random.getstate(), numpy.random.get_state()
    try:
        # Without the empty list torch would save and restore the generators of every GPU that it
        # can see.
        with torch.random.fork_rng(devices=[]):
            seed_globals(stream, seed)
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(array)
