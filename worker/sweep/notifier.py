"""Sends webhooks and mail: rows of the outbox become messages, and each message is sent until it has arrived."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from store.db import DATABASE_AWAY, Study
from store.studies import verdicts
from store.webhooks import Due, Ended, EndedStudy, Message, Outcome, deliveries, ends
from studies.comparison import read_comparison
from worker.sweep import messages
from worker.sweep.mailing import Mailer
from worker.sweep.sending import Sender

log = structlog.get_logger(__name__)

#: Messages that are sent at the same time, each to another webhook.
AT_ONCE = 32
#: For messages under way when the sweep stops: those that take longer are sent again by the next one.
_STOP_SECONDS = 12.0

Send: TypeAlias = Callable[[Sequence[Due]], Mapping[Due, Outcome]]


class Notifier:
    """Works in threads of its own, so that leases don't wait for receivers, and mail and the rest not for each other.

    `base_url`: of the links in messages.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        sender: Sender,
        base_url: str | None,
        mailer: Mailer | None = None,
    ) -> None:
        self._sessions = sessions
        self._sender = sender
        self._base_url = base_url
        self._mailer = mailer or Mailer(None)
        self._stopping = threading.Event()
        self._queueing = _Thread("queueing", self._queue)
        self._posting = _Thread("posting", self._post)
        self._mailing = _Thread("mailing", self._mail)

    def start(self) -> None:
        """Queues messages for everything that has ended, and sends all that are due, beside the caller."""
        self._queueing.start(self._posting, self._mailing)

    def run(self) -> None:
        """What `start` does, one after the other."""
        self._queue()
        self._post()
        self._mail()

    def stop(self) -> None:
        """Waits for messages that are under way, but not for long."""
        self._stopping.set()
        self._mailer.close()
        ends = time.monotonic() + _STOP_SECONDS
        for thread in (self._queueing, self._posting, self._mailing):
            thread.join(ends)
        self._sender.close()

    def _queue(self) -> None:
        queue_messages(self._sessions, self._base_url)

    def _post(self) -> None:
        while not self._stopping.is_set() and self._send_due(self._sender.send, mail=False):
            pass

    def _mail(self) -> None:
        while not self._stopping.is_set() and self._send_due(self._mailer.send, mail=True):
            pass

    def _send_due(self, send: Send, *, mail: bool) -> bool:
        """One message to each webhook; whether there may be more."""
        with self._sessions.begin() as session:
            due = deliveries.due(session, AT_ONCE, mail=mail)
        if not due:
            return False
        outcomes = send(due)
        # If this process dies before, they are sent again, with the same ids.
        with self._sessions.begin() as session:
            deliveries.note(session, outcomes)
        for one, outcome in outcomes.items():
            log.info(
                "a message was sent" if outcome.failure is None else "a message did not arrive",
                webhook=one.webhook_id,
                message=one.message_id,
                failure=outcome.failure,
            )
        return True


class _Thread:
    """Does one thing in a thread, never twice at once. The process may end meanwhile."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self._thread: threading.Thread | None = None

    def start(self, *after: "_Thread") -> None:
        """Does nothing while it still works; starts those of `after` once it is done."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._run, args=(after,), name=self._name, daemon=True
            )
            self._thread.start()

    def join(self, ends: float) -> None:
        """`ends`: by when, of the monotonic clock."""
        if self._thread is not None:
            self._thread.join(max(0.0, ends - time.monotonic()))

    def _run(self, after: Sequence["_Thread"]) -> None:
        try:
            self._work()
        except DATABASE_AWAY as error:
            log.warning("messages wait for the database", error=str(error))
        except Exception:
            log.exception("messages could not be sent", at=self._name)
        else:
            for thread in after:
                thread.start()


def queue_messages(sessions: sessionmaker[Session], base_url: str | None) -> None:
    """Makes the messages for what has ended; for a study with claims once these are judged."""
    with sessions.begin() as session:
        outbox = ends.read_outbox(session)
    for ended in outbox:
        try:
            with sessions.begin() as session:
                _queue(session, ended, base_url)
        except DATABASE_AWAY:
            raise
        except SQLAlchemyError:
            # Such as a webhook that was just removed: the next round doesn't see it any more.
            log.exception(
                "messages for an end are made later", study=ended.study_id, job=ended.job_id
            )
        except Exception:
            # One study must not keep the others' people waiting, round after round.
            log.exception(
                "messages for an end could not be made", study=ended.study_id, job=ended.job_id
            )
            with sessions.begin() as session:
                ends.forget(session, ended.rows)


def _queue(session: Session, ended: Ended, base_url: str | None) -> None:
    if ended.study_id is None:
        if (job := ends.find_failed(session, ended.job_id)) is not None:
            ends.add_deliveries(session, job, messages.of_job(job, base_url))
    elif (found := ends.find_study(session, ended.study_id)) is not None:
        if not found.is_judged:
            return
        ends.add_deliveries(session, found.study, _describe(session, found, base_url))
    ends.forget(session, ended.rows)


def _describe(session: Session, ended: EndedStudy, base_url: str | None) -> Message:
    claims = verdicts.of_studies(session, [ended.study.id])[ended.study.id]
    return messages.of_study(ended, _find_sentence(session, ended.study), claims, base_url)


def _find_sentence(session: Session, study: Study) -> str | None:
    """The verdict on the study's variants; None where it can't be found: the message is sent without it."""
    try:
        return read_comparison(session, study).verdict.sentence
    except SQLAlchemyError:
        raise
    except Exception:
        log.exception("a message has no verdict", study=study.id)
        return None
