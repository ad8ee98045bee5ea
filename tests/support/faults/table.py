"""Every fault that `make test-faults` does to a running stack."""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.faults import jobs, processes, servers
from tests.support.faults.machine import Disk
from tests.support.faults.scene import Scene


@dataclass(frozen=True, slots=True)
class Fault:
    """`happen` returns what was seen, once the stack can go on by itself; what it expects beyond `invariants`, it asserts."""

    name: str
    happen: Callable[[Scene], str]


KILLED = (
    Fault("A worker's child is killed (`kill -9`)", processes.kill_child),
    Fault("The worker's parent is killed", processes.kill_parent),
    Fault("The sweep is killed", processes.kill_part("sweep")),
    Fault("The mirror is killed", processes.kill_part("mirror")),
    Fault("The API is killed in mid-POST", processes.kill_api_in_mid_post),
    Fault("MLflow is killed, for a minute", processes.keep_mlflow_down),
    Fault("Redis is killed, with its data", servers.kill_redis),
    Fault("PostgreSQL is killed", processes.kill_part("postgres")),
)
STOPPED = (
    Fault("Redis is frozen", servers.freeze_redis),
    Fault("PostgreSQL is frozen", servers.freeze_postgres),
    Fault("PostgreSQL is restarted", servers.restart_postgres),
    Fault("PostgreSQL is stopped for longer than a lease", servers.stop_postgres),
    Fault("SIGTERM to the worker in mid-epoch", processes.drain),
    Fault("The worker is frozen past its lease, and woken", processes.freeze_worker),
    Fault("Two workers with one name", processes.start_second_worker),
    Fault("An upgrade with a migration", processes.migrate),
)
DAMAGED = (
    Fault("The newest checkpoint is cut short", jobs.damage_checkpoint(jobs.cut_file)),
    Fault("The newest checkpoint has a flipped bit", jobs.damage_checkpoint(jobs.flip_bit)),
    Fault("The disk is full for a while", jobs.refuse_checkpoints(Disk.filled, errno.ENOSPC)),
    Fault(
        "The disk is read-only for a while", jobs.refuse_checkpoints(Disk.read_only, errno.EROFS)
    ),
    Fault("A job kills its process each time", jobs.poison),
    Fault("A job hangs", jobs.hang),
    Fault("The kernel kills a job for its memory", jobs.run_out_of_memory),
)
#: It takes as long as the others of a round together.
ALONE = (Fault("The disk stays full until a job's end", jobs.keep_disk_full),)
