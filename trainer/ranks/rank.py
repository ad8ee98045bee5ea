"""The life of one rank: it meets the others, trains its part, and waits to be ended."""

import logging
import os
import socket
from contextlib import closing, suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from threading import Lock
from types import TracebackType
from typing import Any, Self

import torch
from torch import distributed

from trainer.data import load
from trainer.events import StopRequest
from trainer.ranks.messages import Ended, Logged, Work, failed
from trainer.spec import DatasetInfo, JobSpec, Numerics
from trainer.training import Ranks, train

#: Rank 0 validates alone, for as long as it takes; who waits for one that is gone is ended from outside.
_TIMEOUT = timedelta(days=366)


class MeetingPoint:
    """A socket of the loopback interface, made before the ranks, so that its port is free and known to all."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=size + 8)
        self._port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._listening.close()

    def join(self, rank: int, device: torch.device) -> None:
        """Sets `torch.distributed` up; waits for the others."""
        # All are on this host, and it may have no name that leads to one of its addresses.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
        is_first = rank == 0
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1",
            self._port,
            self._size,
            is_master=is_first,
            master_listen_fd=self._listening.detach() if is_first else None,
            wait_for_workers=False,
        )
        if not is_first:
            self._listening.close()
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=self._size,
            timeout=_TIMEOUT,
            device_id=device if device.type == "cuda" else None,
        )


def run_rank(work: Work, rank: int, connection: Connection, meeting: MeetingPoint) -> int:
    """The exit status."""
    sender = _Sender(connection)
    if rank == 0:
        _forward_warnings(sender)
    try:
        _train(work, rank, sender, meeting)
    except EOFError:  # the other side has gone, and with it the reason to train
        return 0
    except Exception as error:
        with suppress(OSError):
            sender.send(failed(error))
        return 1
    # The others may still be heard by those who have not ended: all are ended together.
    with suppress(EOFError, OSError):
        connection.recv()
    return 0


class _Sender:
    """Two threads may have something to say: the one that trains, and one that logs."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def send(self, message: Any) -> None:
        with self._lock:
            self._connection.send(message)

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self._connection.recv()


def _train(work: Work, rank: int, sender: _Sender, meeting: MeetingPoint) -> None:
    device = torch.device(work.devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    meeting.join(rank, device)
    spec = JobSpec.model_validate(work.spec)
    info = DatasetInfo.model_validate(work.info)
    events = train(
        spec,
        load(spec.dataset, info, work.datasets),
        work.folder,
        numerics=Numerics.model_validate(work.numerics),
        device=device,
        resume=work.resume,
        initial=work.initial,
        ranks=Ranks(rank, len(work.devices)),
    )
    request: StopRequest | None = None
    with closing(events), suppress(StopIteration):
        while True:
            request = sender.ask(events.send(request))
    if rank == 0:
        sender.send(Ended())


def _forward_warnings(sender: _Sender) -> None:
    """What rank 0 logs, and warns of, is said where its events are received."""

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(OSError):
                sender.send(Logged(record.levelno, record.getMessage().strip()))

    logging.captureWarnings(True)
    logging.getLogger().addHandler(Forward(logging.WARNING))
