"""One line of JSON for each entry, whoever wrote it."""

import json
import subprocess
import sys

PROGRAM = """
import logging, warnings
import structlog
from runtime.logs import configure_logging

configure_logging("info")
log = structlog.get_logger("ours")
log.debug("not this")
with structlog.contextvars.bound_contextvars(job=3):
    log.info("trained", epoch=2)
logging.getLogger("theirs").warning("a library says %d", 5)
logging.getLogger("alembic").info("nor this")
warnings.warn("mind the gap")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_all_lines_are_json_with_level_logger_and_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    ours, theirs, warning, failure = map(json.loads, done.stderr.splitlines())
    assert (ours["event"], ours["job"], ours["epoch"]) == ("trained", 3, 2)
    assert (ours["level"], ours["logger"]) == ("info", "ours")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["logger"]) == ("a library says 5", "theirs")
    assert "mind the gap" in warning["event"]
    assert "ZeroDivisionError" in failure["exception"]
