"""Whom local servers run as, and folders and programs they can reach.

PostgreSQL refuses to run as root, so root's servers run as `nobody`. No permission outside the
server's own folders is ever changed: an unreachable program is copied, and a data folder is entered
before the account changes (see `Account.enter`).
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.errors import ServerError


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the servers; `switched` means that it isn't ours."""

    uid: int
    gid: int
    switched: bool

    def enter(self, folder: Path) -> dict[str, Any]:
        """Arguments for `Popen`: the child is in `folder` before it changes its account.

        So it works in a folder below parents that the account may not pass, like /root or a
        temporary folder: it names its folder `working_folder`, not by path.
        """
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        arguments: dict[str, Any] = {"cwd": folder, "env": environment}
        if self.switched:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def working_folder(self, folder: Path) -> str:
        """How the child of `enter` names `folder`: a link that needs no right on its parents."""
        return (
            "/proc/self/cwd" if self.switched and Path("/proc/self/cwd").exists() else str(folder)
        )

    def can_run(self, program: Path) -> bool:
        if not self.switched:
            return os.access(program, os.X_OK)
        command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(program)]
        return subprocess.run(command, check=False, **self.enter(Path("/"))).returncode == 0


def server_account() -> Account:
    """`nobody` if we are root, else ourselves."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switched=False)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "PostgreSQL cannot run as root, and this system has no account `nobody` to run it as"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid, switched=True)


def private_folder(folder: Path, account: Account) -> Path:
    """`folder` as the account's own, mode 0700; refuses a link or what belongs to somebody else."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
            raise ServerError(
                f"{folder} should be a folder of this account but belongs to user {found.st_uid}; "
                "remove it or choose another NORMLAB_HOME"
            ) from None
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    folder.chmod(0o700)
    return folder


def socket_folder(folder: Path) -> Path:
    """A short place for the sockets of `folder`: a socket's path is limited to 107 bytes."""
    digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=6).hexdigest()
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run") / f"normlab-{digest}"
    return Path("/tmp") / f"normlab-{os.geteuid()}-{digest}"  # noqa: S108 - checked by private_folder


def reachable_copy(
    root: Path, parts: Sequence[str], program: str, places: Sequence[Path], account: Account
) -> Path:
    """`root / program`, or its copy (with all `parts` of `root`) below the first reachable place.

    A virtual environment below /root, for example, is closed to every other account.
    """
    if account.can_run(root / program):
        return root / program
    original, name = (root / program).stat(), Path(program).name
    for place in places:
        copy = place / f"programs-{name}-{original.st_size:x}-{original.st_mtime_ns:x}"
        if not copy.exists():
            _copy(root, parts, copy)
        if account.can_run(copy / program):
            return copy / program
    raise ServerError(
        f"{root / program} cannot be reached by user {account.uid}, nor a copy of it below "
        f"{' or '.join(str(place) for place in places)}; choose another NORMLAB_HOME"
    )


def _copy(root: Path, parts: Sequence[str], copy: Path) -> None:
    """Each part, a folder or a file, under its own name.

    What a link leads to is copied under the link's name: its target may lie where only we may go,
    and a program may decide by its name what it does.
    """
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    for part in parts:
        source, target = root / part, unfinished / part
        if source.is_dir():
            shutil.copytree(source, target, ignore_dangling_symlinks=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755)
    unfinished.rename(copy)
