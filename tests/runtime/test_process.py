"""A signal ends a process also where Python ignores what its handler raises."""

import signal
import subprocess
import sys
import textwrap

PREPARED = """
    import os, signal, weakref
    from runtime.process import Termination

    termination = Termination(signal.SIGTERM)

    class Thing:
        pass

    thing = Thing()
"""


def exit_status(program: str) -> tuple[int, str]:
    """Of a Python process that runs it, and what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PREPARED) + textwrap.dedent(program)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_it_ends_at_once_with_its_cleanup_done() -> None:
    program = """
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            print("goes on")
        finally:
            print("cleaned up")
    """
    assert exit_status(program) == (0, "cleaned up\n")


def test_an_exit_that_python_has_lost_comes_with_the_next_check() -> None:
    program = """
        noticed = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        print("goes on")
        termination.check()
        print("never reached")
    """
    status, output = exit_status(program)
    assert status == 0
    assert "Exception ignored in" in output
    assert "goes on" in output
    assert "never reached" not in output


def test_a_start_that_waits_for_the_database_ends_although_its_exit_was_lost() -> None:
    program = """
        from store.db import DATABASE_AWAY
        from worker.startup import wait_for_database

        def away():
            raise DATABASE_AWAY[0]("connecting", None, Exception("refused"))

        noticed = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        wait_for_database(away, termination=termination)
    """
    status, output = exit_status(program)
    assert status == 0, output
    assert "Exception ignored in" in output


def test_a_start_that_waits_for_its_name_ends_although_its_exit_was_lost() -> None:
    program = """
        from worker.host.host_lock import HostName, make_instance

        noticed = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        # Nothing listens there: it would try for ever.
        HostName("postgresql+psycopg://nobody@127.0.0.1:9/none", "alpha", make_instance()).take(600, termination)
    """
    status, output = exit_status(program)
    assert status == 0, output
    assert "Exception ignored in" in output


def test_without_a_signal_a_check_does_nothing() -> None:
    assert exit_status("termination.check(); print('goes on')") == (0, "goes on\n")


def test_other_signals_keep_their_meaning() -> None:
    status, _ = exit_status("os.kill(os.getpid(), signal.SIGUSR1)")
    assert status == -signal.SIGUSR1
