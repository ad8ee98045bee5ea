"""Mail arrives once the mail server takes it, over TLS where there is a password, and with no header of others."""

import asyncio
import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP as SMTPServer
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Delivery
from store.webhooks import Due, Outcome
from tests.support.factories import make_user
from tests.support.receiver import Receiver
from tests.support.webhooks import LOOPBACK, register, submit, train
from worker.settings import Settings
from worker.sweep.mailing import Mailer, Relay
from worker.sweep.notifier import Notifier
from worker.sweep.sending import Sender

Sessions = sessionmaker[Session]
SENDER, ADA = "normlab@lab.example", "mailto:ada@lab.example"


@dataclass
class MailServer:
    """`answers`: to give to messages, in order, then 250; `seen`: with what was refused."""

    answers: list[str] = field(default_factory=list)
    address_answer: str = "250 OK"
    seen: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.address_answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=SMTP)
        assert envelope.rcpt_tos == ["ada@lab.example"]
        self.seen.append(mail)
        return self.answers.pop(0) if self.answers else "250 OK"

    def log_in(self, server: Any, session: Any, envelope: Any, how: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login, given.password))
        return AuthResult(success=given.password == b"right", handled=False)


def serve(**options: Any) -> Iterator[MailServer]:
    """On a port of 127.0.0.1."""
    mail_server = MailServer()
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(
        loop.create_server(
            lambda: SMTPServer(
                mail_server,
                hostname="mail.example",
                authenticator=mail_server.log_in,
                auth_require_tls=False,
                loop=loop,
                **options,
            ),
            "127.0.0.1",
        )
    )
    mail_server.port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield mail_server
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    listening.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    yield from serve()


@dataclass(frozen=True)
class Certificate:
    """Of 127.0.0.1, signed by itself."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    _write_certificate(path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return Certificate(server, ssl.create_default_context(cafile=str(path)))


@pytest.fixture
def encrypted(certificate: Certificate) -> Iterator[MailServer]:
    yield from serve(tls_context=certificate.server)


@pytest.fixture
def notifier(own: Sessions, mail_server: MailServer) -> Iterator[Notifier]:
    mailer = Mailer(Relay("127.0.0.1", mail_server.port, SENDER), seconds=60.0)
    sender = Sender(LOOPBACK, seconds=60.0)
    notifier = Notifier(own, sender, "http://normlab.example", mailer)
    yield notifier
    notifier.stop()


def send(relay: Relay | None, tls: ssl.SSLContext | None = None, **said: str) -> str | None:
    """Why it did not arrive."""
    body = json.dumps({"subject": "s", "text": "t", **said})
    due = Due(1, 3, "msg_1", ADA, "", body, 0, "ada")
    return Mailer(relay, tls, seconds=60.0).send([due])[due].failure


def test_a_mail_that_is_refused_for_now_arrives_later_as_the_same(
    sessions: Sessions, own: Sessions, notifier: Notifier, mail_server: MailServer
) -> None:
    mail_server.answers = ["451 try again later"]
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        register(session, ada, ADA, format="mail")
        study = submit(session, ada)
    train(sessions)
    notifier.run()
    with sessions.begin() as session:
        delivery = session.scalars(select(Delivery)).one()
        assert delivery.error == "the mail server answered 451 to the message"
        assert (delivery.delivered_at, delivery.given_up_at) == (None, None)
        session.execute(update(Delivery).values(next_at=func.now()))
    notifier.run()
    notifier.run()
    first, second = mail_server.seen
    assert first["Message-ID"] == second["Message-ID"]
    assert (second["From"], second["To"]) == (f"Normlab <{SENDER}>", "ada@lab.example")
    assert second["Subject"] == f"Normlab: norms (s{study.id}) has ended: succeeded"
    text = second.get_content().replace("\r\n", "\n")
    assert text.startswith(
        f"norms (s{study.id}) has ended: succeeded.\n\nJobs: 4 succeeded.\n\nNo verdict"
    )
    assert f"http://normlab.example/studies/{study.id}\n" in text
    assert "because ada has asked for it" in text
    with sessions.begin() as session:
        assert session.scalars(select(Delivery.delivered_at)).one() is not None


def test_an_address_that_the_server_refuses_for_good_is_given_up(
    sessions: Sessions, own: Sessions, notifier: Notifier, mail_server: MailServer
) -> None:
    mail_server.address_answer = "550 no such user"
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        register(session, ada, ADA, format="mail")
        submit(session, ada)
    train(sessions)
    notifier.run()
    with sessions.begin() as session:
        delivery = session.scalars(select(Delivery)).one()
        assert delivery.given_up_at is not None
        assert delivery.error == "the mail server answered 550 to the address"


def test_a_mail_that_cannot_be_written_keeps_no_other_from_being_sent(
    mail_server: MailServer,
) -> None:
    body = json.dumps({"subject": "s", "text": "t"})
    bad, good = (
        Due(at, at, f"msg_{at}", url, "", body, 0, "ada")
        for at, url in enumerate(("mailto:ada..l@lab.example", ADA))
    )
    outcomes = Mailer(Relay("127.0.0.1", mail_server.port, SENDER), seconds=60.0).send([bad, good])
    assert "log says why" in str(outcomes[bad].failure)
    assert outcomes[good].failure is None
    assert len(mail_server.seen) == 1


def test_a_mail_server_that_hangs_or_worse_costs_no_webhook_anything(
    sessions: Sessions, own: Sessions, receiver: Receiver
) -> None:
    answers = threading.Event()

    class Broken(Mailer):
        def send(self, due: Sequence[Due]) -> dict[Due, Outcome]:
            assert answers.wait(60.0)
            raise ValueError("broken")

    notifier = Notifier(own, Sender(LOOPBACK, seconds=60.0), None, Broken(None))
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        register(session, ada, ADA, format="mail")
        register(session, ada, receiver.url)
        submit(session, ada)
    train(sessions)
    notifier.start()
    delivered = select(func.count(Delivery.delivered_at))
    for _ in range(600):
        with sessions.begin() as session:
            if session.scalars(delivered).one():
                break
        time.sleep(0.1)
    answers.set()
    notifier.stop()
    with pytest.raises(ValueError, match="broken"):
        Notifier(own, Sender(LOOPBACK, seconds=60.0), None, Broken(None)).run()
    assert len(receiver.seen) == 1


#: Of a mail server: whether it speaks TLS, what it says before each byte that follows takes a tenth of a second, without an
#: end; and how long it is given.
TRICKLING = {
    "greeting": (False, (), 0.5),
    # The head of a TLS record whose 16 KiB follow.
    "tls": (True, (b"\x16\x03\x03\x40\x00",), 0.5),
    "answer": (False, (b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"), 2.0),
}


@pytest.mark.parametrize("stage", TRICKLING)
def test_a_mail_server_that_trickles_loses_the_connection(stage: str) -> None:
    is_encrypted, answers, seconds = TRICKLING[stage]
    body = json.dumps({"subject": "s", "text": "t"})
    due = [Due(at, at, f"msg_{at}", ADA, "", body, 0, "ada") for at in range(2)]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        trickling = threading.Thread(target=_trickle, args=(listening, answers))
        trickling.start()
        relay = Relay("127.0.0.1", listening.getsockname()[1], SENDER, is_encrypted)
        outcomes = Mailer(relay, seconds=300.0, longest_seconds=seconds).send(due)
        trickling.join()
    assert outcomes[due[0]].failure == f"the mail server took longer than {seconds:g} s"
    # What it was not asked to take over a connection that was there is tried in the next round.
    assert (due[1] in outcomes) == (stage != "answer")


def _trickle(listening: socket.socket, answers: Sequence[bytes]) -> None:
    """An answer to each thing that is said, the first to nothing; then bytes until the client goes."""
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        for number, answer in enumerate(answers):
            if number and not connection.recv(2**16):
                return
            connection.sendall(answer)
        while True:
            connection.sendall(b"2")
            time.sleep(0.1)


def test_a_connection_that_is_lost_fails_the_message_on_its_way_and_no_other(
    mail_server: MailServer,
) -> None:
    body = json.dumps({"subject": "s", "text": "t"})
    due = [Due(at, at, f"msg_{at}", ADA, "", body, 0, "ada") for at in range(3)]
    mail_server.answers = ["250 OK", "421 too many"]
    mailer = Mailer(Relay("127.0.0.1", mail_server.port, SENDER), seconds=60.0)
    outcomes = mailer.send(due)
    assert [outcomes[one].failure for one in due[:2]] == [
        None,
        "the mail server answered 421 to the message",
    ]
    assert due[2] not in outcomes
    assert mailer.send(due[2:]) == {due[2]: Outcome()}


def test_a_name_that_somebody_chose_is_no_header_of_its_own(mail_server: MailServer) -> None:
    relay = Relay("127.0.0.1", mail_server.port, SENDER)
    subject = "größer\r\nBcc: eve@evil.example\r\n\r\n" + "x" * 200
    assert send(relay, subject=subject, text=".\r\n.\r\nQUIT\r\n" + "é" * 2000) is None
    [mail] = mail_server.seen
    assert "Bcc" not in mail
    assert mail["Subject"].startswith("Normlab: größerBcc: eve@evil.example")
    assert mail.get_content().replace("\r\n", "\n").startswith(".\n.\nQUIT\n\u00e9\u00e9")


def test_a_password_is_sent_over_tls_that_is_verified(
    encrypted: MailServer, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweep.mailing._is_loopback", lambda host: False)
    relay = Relay("127.0.0.1", encrypted.port, SENDER, user="normlab", password="right")
    assert "certificate is not valid" in str(send(relay))
    assert encrypted.logins == []
    assert send(relay, certificate.trusting) is None
    assert encrypted.logins == [(b"normlab", b"right")]


def test_a_password_is_not_sent_without_tls_to_another_machine(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay("127.0.0.1", mail_server.port, SENDER, user="normlab", password="right")
    assert send(relay) is None
    assert mail_server.logins == [(b"normlab", b"right")]
    monkeypatch.setattr("worker.sweep.mailing._is_loopback", lambda host: False)
    assert "offers no TLS" in str(send(relay))
    assert len(mail_server.logins) == 1


def test_a_wrong_password_and_a_server_that_is_not_there_are_said(mail_server: MailServer) -> None:
    relay = Relay("127.0.0.1", mail_server.port, SENDER, user="normlab", password="wrong")
    assert "refused the user or NORMLAB_SMTP_PASSWORD (535)" in str(send(relay))
    assert "can't be connected to" in str(send(Relay("127.0.0.1", 1, SENDER)))
    assert "NORMLAB_SMTP_URL" in str(send(None))


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://mail.example", Relay("mail.example", 25, SENDER)),
        ("smtps://mail.example", Relay("mail.example", 465, SENDER, is_encrypted=True)),
        (
            "smtp://ada%40lab.example@mail.example:587",
            Relay("mail.example", 587, SENDER, user="ada@lab.example", password="p"),
        ),
    ],
)
def test_the_mail_server_is_that_of_the_settings(url: str, relay: Relay) -> None:
    password = {"smtp_password": "p"} if relay.user else {}
    assert Relay.of(_settings(smtp_url=url, mail_from=SENDER, **password)) == relay


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("http://mail.example", SENDER),
        ("smtp://ada:secret@mail.example", SENDER),
        ("smtp://mail.example:x", SENDER),
        ("smtp://mail.example", None),
        ("smtp://mail.example", "a\r\nBcc: b@c.de"),
        ("smtp://mail.example", "norm..lab@lab.example"),
    ],
)
def test_a_mail_server_that_cannot_be_is_refused_and_no_password_told(
    url: str, sender: str | None
) -> None:
    with pytest.raises(ValueError, match=r"NORMLAB|smtp|address|Port") as refused:
        _settings(smtp_url=url, mail_from=sender)
    assert "secret" not in str(refused.value)


def _settings(**options: Any) -> Settings:
    return Settings(database_url="", redis_url="", storage=Path(), **options)


def _write_certificate(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
