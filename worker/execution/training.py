"""The training of an assignment: its spec, the checkpoints that it goes on from or begins with, and its start."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from runtime.storage import Storage
from store.jobs import Assignment
from trainer.errors import DataError
from trainer.events import CheckpointSaved, Event, StopRequest
from trainer.ranks import train_on_ranks
from trainer.spec import DatasetInfo, JobSpec, Numerics
from trainer.training import train
from worker.execution import memory
from worker.execution.context import ExecutionContext
from worker.execution.inputs import WriteLog, fetch_inputs, retry_until_there


@dataclass(frozen=True, slots=True)
class Training:
    """`resume`: checkpoints of earlier attempts, the best one to go on from first; `initial`: of another job, whose weights
    it begins with."""

    spec: JobSpec
    info: DatasetInfo
    resume: Sequence[CheckpointSaved]
    initial: CheckpointSaved | None

    @classmethod
    def of(cls, assignment: Assignment) -> Self:
        """With the checkpoints as the storage names them. Raises DataError."""
        spec = JobSpec.model_validate(assignment.spec)
        info = DatasetInfo.model_validate(assignment.info)
        if spec.init_from is not None and assignment.initial is None:
            raise DataError(f"the weights of job {spec.init_from.job}, to begin from, are gone")
        return cls(spec, info, assignment.checkpoints, assignment.initial)

    def fetch(
        self,
        storage: Storage,
        goes_on: Callable[[], bool],
        progressed: Callable[[], None],
        say: WriteLog,
    ) -> Self | None:
        """With the checkpoints as files of this host, and its dataset there; None where it was stopped while it waited for
        the storage."""
        saved = (*self.resume, *([] if self.initial is None else [self.initial]))

        def goes_on_waiting() -> bool:
            progressed()
            return goes_on()

        def fetch() -> Sequence[CheckpointSaved]:
            return fetch_inputs(storage, self.info.digest, saved, progressed, say)

        if storage.is_remote:
            files = retry_until_there(fetch, goes_on_waiting, say)
        else:
            files = [replace(one, path=str(storage.root / one.path)) for one in saved]
        if files is None:
            return None
        count = len(self.resume)
        return replace(self, resume=files[:count], initial=next(iter(files[count:]), None))

    def start(
        self,
        assignment: Assignment,
        context: ExecutionContext,
        devices: Sequence[torch.device],
        progressed: Callable[[], None],
    ) -> Generator[Event, StopRequest | None, None]:
        storage = context.storage.root
        folder = storage / "jobs" / str(assignment.job_id) / f"attempt-{assignment.attempt}"
        numerics = assignment.numerics or Numerics()
        if self.spec.resources.devices > 1:
            # Processes of their own, each of which loads the data: this one only hears what they do.
            return train_on_ranks(
                self.spec, self.info, storage / "datasets", folder,
                numerics=numerics, devices=[str(one) for one in devices], resume=self.resume,
                initial=self.initial,
            )  # fmt: skip
        data = context.load(self.spec.dataset, self.info)
        progressed()
        memory.limit(devices[0], assignment.devices[0].booked_bytes)
        return train(
            self.spec, data, folder,
            numerics=numerics, device=devices[0], resume=self.resume, initial=self.initial,
        )  # fmt: skip
