"""Sends mail through the mail server of the settings, over TLS where the server speaks it."""

import json
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from typing import Self
from urllib.parse import unquote, urlsplit

import structlog

from store.webhooks import Due, Outcome
from worker.settings import Settings

log = structlog.get_logger(__name__)

#: For each piece of an answer of the mail server.
SECONDS = 10.0
#: For all messages of a round. What isn't sent by then is due in the next round.
ROUND_SECONDS = 30.0
#: A server that has not answered by then, however it trickles, loses the connection.
LONGEST_ROUND_SECONDS = 60.0
_SCHEME = "mailto:"
#: Every server takes it, whatever characters are in the text.
_POLICY = SMTP.clone(cte_type="7bit")
_UNEXPECTED = Outcome("it could not be sent: the sweep's log says why")


@dataclass(frozen=True, slots=True)
class Relay:
    """A mail server, and the address that mail comes from. `is_encrypted`: from the first byte on (smtps)."""

    host: str
    port: int
    sender: str
    is_encrypted: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        if settings.smtp_url is None:
            return None
        parts = urlsplit(settings.smtp_url)
        assert parts.hostname is not None
        assert settings.mail_from is not None
        is_encrypted = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            parts.port or (smtplib.SMTP_SSL_PORT if is_encrypted else smtplib.SMTP_PORT),
            settings.mail_from,
            is_encrypted,
            unquote(parts.username) if parts.username else None,
            settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        )


class NotPrivate(Exception):
    """The password would be sent without TLS."""


class Mailer:
    """`relay`: None where no mail server is set; every message fails with a reason then."""

    def __init__(
        self,
        relay: Relay | None,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
        longest_seconds: float = LONGEST_ROUND_SECONDS,
    ) -> None:
        """`tls`: which certificates to trust; default: the system's authorities. `longest_seconds`: of one `send`."""
        self._relay = relay
        self._tls = tls or ssl.create_default_context()
        self._seconds = seconds
        self._longest_seconds = longest_seconds
        self._closing = threading.Event()

    def send(self, due: Sequence[Due]) -> dict[Due, Outcome]:
        """One attempt at each for which there is time, over one connection."""
        if not due:
            return {}
        if self._relay is None:
            return dict.fromkeys(due, Outcome("no mail is sent: the sweep has no NORMLAB_SMTP_URL"))
        with _Deadline(self._longest_seconds) as deadline:
            return self._send(self._relay, due, deadline)

    def _send(self, relay: Relay, due: Sequence[Due], deadline: "_Deadline") -> dict[Due, Outcome]:
        outcomes: dict[Due, Outcome] = {}
        ends = time.monotonic() + ROUND_SECONDS
        is_connected = False
        failure = _UNEXPECTED
        try:
            with closing(self._connect(relay, deadline)) as server:
                is_connected = True
                for message in due:
                    outcome = _deliver(server, relay, message)
                    # Half of an answer reads like a whole one.
                    if deadline.is_over:
                        raise smtplib.SMTPServerDisconnected
                    outcomes[message] = outcome
                    # It closes after a 421.
                    is_closed = server.sock is None
                    if is_closed or time.monotonic() > ends or self._closing.is_set():
                        break
                with suppress(OSError):
                    server.quit()
            return outcomes
        except (OSError, NotPrivate) as error:
            log.warning("mail could not be sent", error=repr(error)[:300])
            if deadline.is_over:
                failure = Outcome(f"the mail server took longer than {self._longest_seconds:g} s")
            else:
                failure = Outcome(_describe(error, relay))
        except Exception:  # Without an outcome they would be due again at once, and for ever.
            log.exception("mail could not be sent")
        # Over a connection that was there, the others may still arrive: they are due in the next round.
        left = due[len(outcomes) :]
        return outcomes | dict.fromkeys(left[:1] if is_connected else left, failure)

    def close(self) -> None:
        """From another thread: nothing is sent after the message that is under way."""
        self._closing.set()

    def _connect(self, relay: Relay, deadline: "_Deadline") -> smtplib.SMTP:
        """Logged in, if there is a user. Raises OSError, of which SMTPException is one, and NotPrivate."""
        server = _Connection(relay, self._seconds, deadline, self._tls)
        try:
            server.ehlo_or_helo_if_needed()
            is_private = relay.is_encrypted or _is_loopback(relay.host)
            if not relay.is_encrypted and server.has_extn("starttls"):
                server.starttls(context=self._tls)
                is_private = True
            if relay.user is not None:
                if not is_private:
                    raise NotPrivate
                server.login(relay.user, relay.password or "")
        except BaseException:
            server.close()
            raise
        return server


class _Deadline:
    """Ends a connection when its time is over, wherever it hangs: a socket's own timeout begins anew with each byte.

    Only the resolution of the server's name is bounded by the system's resolver instead.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._watched: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._watched:
                connection.close()
            self._watched.clear()

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            # Of its own: TLS takes the descriptor of the connection over.
            self._watched.append(connection.dup())
        if self.is_over:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            for connection in self._watched:
                # It may be closed by the server already.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(smtplib.SMTP):
    """Watched by the deadline from its beginning, which for smtps is that of TLS."""

    def __init__(
        self, relay: Relay, seconds: float, deadline: _Deadline, tls: ssl.SSLContext
    ) -> None:
        self._deadline = deadline
        self._tls = tls if relay.is_encrypted else None
        super().__init__(relay.host, relay.port, timeout=seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        self._deadline.watch(connection)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=host)


def _deliver(server: smtplib.SMTP, relay: Relay, due: Due) -> Outcome:
    """Raises SMTPServerDisconnected and OSError, after which the connection is of no use."""
    receiver = due.url.removeprefix(_SCHEME)
    try:
        mail = make_mail(relay.sender, receiver, due).as_bytes()
    except Exception:  # One message must not keep the others from being sent.
        log.exception("a mail could not be written", message=due.message_id)
        return _UNEXPECTED
    try:
        server.sendmail(relay.sender, [receiver], mail)
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPRecipientsRefused as error:
        [(code, _)] = error.recipients.values()
        return _refused(code, "the address")
    except smtplib.SMTPDataError as error:
        return _refused(error.smtp_code, "the message")
    except smtplib.SMTPResponseException as error:
        # Of the sender, or of us: an administrator can put it right.
        return Outcome(f"the mail server answered {error.smtp_code} to {relay.sender}")
    return Outcome()


def make_mail(sender: str, receiver: str, due: Due) -> EmailMessage:
    """In each attempt with the same `Message-ID`, so that one that arrives twice can be told."""
    message = json.loads(due.body)
    mail = EmailMessage(_POLICY)
    mail["From"] = Address("Normlab", addr_spec=sender)
    mail["To"] = Address(addr_spec=receiver)
    # A name that somebody gave a study ends no header.
    mail["Subject"] = " ".join(
        "".join(filter(str.isprintable, f"Normlab: {message['subject']}")).split()
    )
    mail["Date"] = datetime.now(UTC)
    mail["Message-ID"] = f"<{due.message_id}@{sender.rpartition('@')[2]}>"
    # No answering machine answers.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(
        f"{message['text']}\n\n-- \nNormlab sends this because {due.user} has asked for it: webhook {due.webhook_id}. "
        f"`normlab webhook remove {due.webhook_id}` ends it; so can an administrator.\n"
    )
    return mail


def _refused(code: int, what: str) -> Outcome:
    return Outcome(f"the mail server answered {code} to {what}", is_final=500 <= code < 600)


def _describe(error: Exception, relay: Relay) -> str:
    match error:
        case NotPrivate():
            return f"{relay.host} offers no TLS, without which the password is not sent to it"
        case smtplib.SMTPAuthenticationError():
            return f"the mail server refused the user or NORMLAB_SMTP_PASSWORD ({error.smtp_code})"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}"
        case ssl.SSLError():
            return "the mail server's certificate is not valid, or it doesn't speak TLS"
        case _:
            return "the mail server can't be connected to, or closed the connection"


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
