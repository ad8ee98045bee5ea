"""Messages go to allowed addresses only, whatever a name resolves to."""

import socket
from ipaddress import ip_address, ip_network
from typing import Any

import httpcore
import pytest

from store.webhooks import Due
from tests.support.receiver import Receiver
from worker.sweep.sending import Sender, is_allowed

LOOPBACK = (ip_network("127.0.0.0/8"),)


def send(url: str, sender: Sender) -> str | None:
    """Why it did not arrive."""
    due = Due(1, 1, "msg_1", url, "whsec_c2VjcmV0", "{}", 0, "ada")
    try:
        return sender.send([due])[due].failure
    finally:
        sender.close()


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        # Addresses of version 4 within those of version 6.
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::10.1.2.3", False),
        ("2002:0a01:0203::1", False),
    ],
)
def test_only_public_addresses_are_allowed(address: str, is_public: bool) -> None:
    assert is_allowed(ip_address(address), ()) is is_public


def test_a_network_can_be_allowed_and_no_more_than_that() -> None:
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/64"))
    allowed = ("10.1.2.3", "::ffff:10.1.2.3", "fd00::5")
    assert all(is_allowed(ip_address(one), networks) for one in allowed)
    assert not is_allowed(ip_address("10.2.0.1"), networks)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.255.255.1", "[::ffff:127.0.0.1]"])
def test_nothing_connects_to_an_address_that_is_not_allowed(
    receiver: Receiver,
    host: str,
) -> None:
    failure = send(receiver.url.replace("127.0.0.1", host), Sender(seconds=60.0))
    assert failure is not None
    assert "has no public address, and its network is not allowed" in failure
    assert receiver.connections == 0


def test_a_name_is_resolved_once_and_connected_to_as_it_was_looked_at(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns a name answers each look-up as they like: an allowed address first, then another."""
    resolve, answers = socket.getaddrinfo, ["127.0.0.1", "10.255.255.1"]

    def answer(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve(answers.pop(0) if host == "twice.test" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    url = receiver.url.replace("127.0.0.1", "twice.test")
    assert send(url, Sender(LOOPBACK, seconds=60.0)) is None
    assert answers == ["10.255.255.1"]


def test_nothing_is_sent_to_a_peer_that_is_not_the_address_that_was_looked_at(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = httpcore.AnyIOBackend.connect_tcp
    port = httpcore.URL(receiver.url).port

    async def connect_elsewhere(backend: Any, *_: Any) -> Any:
        return await connect(backend, "127.0.0.1", port)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_elsewhere)
    failure = send("http://93.184.216.34/", Sender(seconds=60.0))
    assert failure is not None
    assert "is not allowed" in failure
    assert receiver.seen == []


def test_of_several_addresses_of_a_name_only_the_allowed_ones_are_tried(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "both.test":
            return resolve(host, *arguments, **options)
        addresses = ("10.255.255.1", "127.0.0.1")
        return [one for name in addresses for one in resolve(name, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    url = receiver.url.replace("127.0.0.1", "both.test")
    assert send(url, Sender(LOOPBACK, seconds=60.0)) is None
    [(_, headers, _)] = receiver.seen
    assert headers["Host"].startswith("both.test:")


def test_a_receiver_without_tls_or_without_a_name_is_said(
    receiver: Receiver,
) -> None:
    url = receiver.url.replace("http:", "https:")
    assert send(url, Sender(LOOPBACK, seconds=60.0)) == (
        "its certificate is not valid, or it doesn't speak TLS"
    )
    failure = send("http://nowhere.invalid/", Sender(LOOPBACK, seconds=60.0))
    assert failure == "the name of its host can't be resolved"
    failure = send(f"http://{'x' * 70}.example/", Sender(LOOPBACK, seconds=60.0))
    assert failure == "the name of its host can't be resolved"
