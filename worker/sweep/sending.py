"""Sends messages, signed as Standard Webhooks have it (https://www.standardwebhooks.com), to allowed addresses only.

A name may resolve to one address when it is looked at and to another when it is connected to. Hence names are resolved
here, each address is looked at, and the connection is made to that very address; nothing is sent, not even a greeting
of TLS, before the peer's address has been looked at again. Redirects are not followed, proxies of the environment not
used.
"""

import asyncio
import base64
import hmac
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import httpcore
import structlog

from store.webhooks import Due, Outcome

log = structlog.get_logger(__name__)

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

#: From the resolution of the name to the status of the answer.
SECONDS = 10.0
_NAT64 = ip_network("64:ff9b::/96")
#: The receiver says that it is gone for good.
_GONE = 410


class NotAllowed(Exception):
    """The address is neither public nor in a network that is allowed."""


class Sender:
    """Sends several messages at once, none for longer than `seconds`."""

    def __init__(self, networks: Sequence[Network] = (), seconds: float = SECONDS) -> None:
        self._networks = networks
        self._seconds = seconds
        self._tls = ssl.create_default_context()
        # Of our own: a look-up can't be interrupted, and asyncio would wait for those of its own pool.
        self._resolvers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolving")

    def send(self, due: Sequence[Due]) -> dict[Due, Outcome]:
        """One attempt at each."""
        return asyncio.run(self._send_all(due))

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _send_all(self, due: Sequence[Due]) -> dict[Due, Outcome]:
        outcomes = await asyncio.gather(*(self._send_in_time(one) for one in due))
        return dict(zip(due, outcomes, strict=True))

    async def _send_in_time(self, due: Due) -> Outcome:
        """A reason says nothing of what was answered but its status."""
        try:
            async with asyncio.timeout(self._seconds):
                return _judge(await self._post(due))
        except TimeoutError:
            return Outcome(f"it did not answer within {self._seconds:g} s")
        except NotAllowed as error:
            return Outcome(str(error))
        except (socket.gaierror, UnicodeError):
            return Outcome("the name of its host can't be resolved")
        except ssl.SSLError:
            return Outcome("its certificate is not valid, or it doesn't speak TLS")
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Outcome(_describe(error))
        except Exception:  # One message must not keep the others from being sent.
            log.exception("a message could not be sent", message=due.message_id)
            return Outcome("it could not be sent: the sweep's log says why")

    async def _post(self, due: Due) -> int:
        """The status of the answer, whose body is not read."""
        body = due.body.encode()
        backend = _Guarded(self._networks, self._resolvers)
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls, network_backend=backend, retries=0
            ) as pool,
            pool.stream(
                "POST", due.url, headers=_headers(due, body, int(time.time())), content=body
            ) as answer,
        ):
            return answer.status


class _Guarded(httpcore.AnyIOBackend):
    """Connects to allowed addresses only."""

    def __init__(self, networks: Sequence[Network], resolvers: ThreadPoolExecutor) -> None:
        self._networks = networks
        self._resolvers = resolvers

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """To the first allowed address that answers."""
        failure: Exception = NotAllowed(_refusal(host))
        for address in await self._resolve(host, port):
            if not is_allowed(ip_address(address), self._networks):
                continue
            try:
                stream = await super().connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (OSError, httpcore.NetworkError) as error:
                failure = error
                continue
            peer = stream.get_extra_info("server_addr")[0]
            if is_allowed(ip_address(peer), self._networks):
                return stream
            await stream.aclose()
        raise failure

    async def _resolve(self, host: str, port: int) -> list[str]:
        look_up = asyncio.get_running_loop().run_in_executor
        found = await look_up(
            self._resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether it is public, or in one of these networks."""
    inner = _inner(address)
    if inner is not None:
        return is_allowed(inner, networks)
    if any(address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast


def _inner(address: Address) -> IPv4Address | None:
    """The address of version 4 that packets to one of version 6 reach in the end."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def sign(secret: str, message_id: str, at: int, body: bytes) -> str:
    """`at`: the seconds since 1970 of the attempt."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def _headers(due: Due, body: bytes, at: int) -> list[tuple[bytes, bytes]]:
    values = {
        "Content-Type": "application/json",
        "User-Agent": "Normlab",
        "webhook-id": due.message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(due.secret, due.message_id, at, body),
    }
    return [(name.encode(), value.encode()) for name, value in values.items()]


def _judge(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome()
    if 300 <= status < 400:
        return Outcome(f"it answered {status}: redirects are not followed")
    return Outcome(f"it answered {status}", is_final=status == _GONE)


def _refusal(host: str) -> str:
    return f"{host} has no public address, and its network is not allowed (NORMLAB_WEBHOOK_NETWORKS of the sweep)"


def _describe(error: Exception) -> str:
    if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
        return "its certificate is not valid, or it doesn't speak TLS"
    if isinstance(error, httpcore.ProtocolError):
        return "its answer is no HTTP"
    return "it can't be connected to, or closed the connection"
