"""`python -m worker`, which gets a SIGTERM whose exception Python loses, before Celery handles the signal."""

import os
import signal
import sys
import weakref
from typing import Any

import worker.__main__ as program

_make_app = program.make_app


class _Thing:
    pass


def make_app(settings: Any) -> Any:
    thing = _Thing()
    noticed = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del thing
    assert noticed() is None
    return _make_app(settings)


if __name__ == "__main__":
    program.make_app = make_app
    sys.exit(program.main())
