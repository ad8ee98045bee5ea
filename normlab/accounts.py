"""The accounts that local servers run as, and the folders and programs they can reach.

PostgreSQL refuses to run as root, so root's servers run under a user id that nothing else uses. No
permission outside the server's own folders is ever changed: an unreachable program is copied, and a
data folder is entered before the account changes (see `Account.enter`).
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

import psutil

from normlab.errors import ServerError

#: User ids that systemd's list of uses leaves free, and that a container with 65536 ids has, too.
OWN_IDS = range(60706, 61184)
_SYSTEM_IDS = range(1, 1000)


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the servers; `switched` means that it isn't ours, `remark` what is wrong with it."""

    uid: int
    gid: int
    switched: bool
    remark: str = ""

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


def server_account(home: Path) -> Account:
    """Ourselves; if we are root, a user id that nothing else on this machine uses.

    It follows from `home`, so that the servers of two homes can't read each other's files, and it
    needs no entry in /etc/passwd, which may be read-only.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switched=False)
    digest = hashlib.blake2b(os.fsencode(home.resolve()), digest_size=8).digest()
    # The digest only says where to begin: if that id is taken here, the next free one follows, the same at every
    # start.
    start = int.from_bytes(digest) % len(OWN_IDS)
    for uid in (*OWN_IDS[start:], *OWN_IDS[:start]):
        if _is_mapped(uid) and not _has_name(uid):
            return Account(uid, uid, switched=True)
    nobody = _nobody()
    if nobody is None:
        raise ServerError(
            f"PostgreSQL cannot run as root, and this system has neither a free user id from "
            f"{OWN_IDS[0]} to {OWN_IDS[-1]} nor an account `nobody` to run it as"
        )
    remark = (
        f"No user id from {OWN_IDS[0]} to {OWN_IDS[-1]} can be used here, so PostgreSQL and Redis run "
        "as `nobody`: other processes of `nobody` can read their files."
    )
    return Account(nobody.pw_uid, nobody.pw_gid, switched=True, remark=remark)


def named_account(account: Account) -> Account:
    """`account`, or a system account without processes for a program that insists on a user's name.

    `initdb` does. What it made is handed over to `account` afterwards.
    """
    if not account.switched or _has_name(account.uid):
        return account
    busy = {uid for process in psutil.process_iter() for uid in _uids(process)}
    idle = (entry for entry in pwd.getpwall() if entry.pw_uid in _SYSTEM_IDS)
    for entry in (*idle, _nobody()):
        if entry is not None and entry.pw_uid not in busy and _is_mapped(entry.pw_uid):
            return Account(entry.pw_uid, entry.pw_gid, switched=True)
    raise ServerError("this system has no account without processes to run `initdb` as")


def _uids(process: psutil.Process) -> Sequence[int]:
    try:
        return process.uids()
    except psutil.Error:
        return ()


def _nobody() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return None


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _is_mapped(uid: int) -> bool:
    """A container's user namespace may lack most ids; a process can't change to one of those."""
    for name in ("uid_map", "gid_map"):
        try:
            lines = Path(f"/proc/self/{name}").read_text().splitlines()
        except OSError:
            continue
        ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
        if not any(first <= uid < first + count for first, count in ranges):
            return False
    return True


def private_folder(folder: Path, account: Account) -> Path:
    """`folder` as the account's own, mode 0700; refuses a link or what belongs to somebody else.

    A folder of root's earlier servers, which ran as `nobody`, is handed over.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or not _may_take(found.st_uid, account):
            raise ServerError(
                f"{folder} should be a folder of this account but belongs to user {found.st_uid}; "
                "remove it or choose another NORMLAB_HOME"
            ) from None
    if folder.lstat().st_uid != account.uid:
        hand_over(folder, account)
    folder.chmod(0o700)
    return folder


def _may_take(uid: int, account: Account) -> bool:
    if not account.switched:
        return uid == account.uid
    nobody = _nobody()
    return uid in (0, account.uid, nobody and nobody.pw_uid) or uid in OWN_IDS


def hand_over(folder: Path, account: Account) -> None:
    """Gives the account `folder` with all that lies in it, wherever links in it may lead.

    Until all of it is given the folder is root's: whoever is interrupted begins anew.
    """
    os.chown(folder, 0, 0, follow_symlinks=False)
    folder.chmod(0o700)
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            # A second name of a file from elsewhere may have been put here by an earlier owner.
            if stat.S_ISDIR(found.st_mode) or found.st_nlink == 1:
                os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)


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
    # With our process id: two stacks may copy the same program at once, and neither must take the other's half
    # for the whole.
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    for part in parts:
        source, target = root / part, unfinished / part
        if source.is_dir():
            shutil.copytree(source, target, ignore_dangling_symlinks=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    # Before the rename: whoever sees the copy may run it.
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755)
    unfinished.rename(copy)
