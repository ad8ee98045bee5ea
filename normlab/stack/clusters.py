"""The data folder of PostgreSQL and its owner's password, created with `initdb`."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from normlab.accounts import Account, hand_over, named_account, private_folder
from normlab.errors import ServerError

#: The file beside the data folder that holds the owner's password.
PASSWORD = "password"  # noqa: S105 - a file's name


def initialize(folder: Path, postgres: Path, account: Account, *, durable: bool) -> None:
    """Makes `folder / "data"` and the password.

    In a folder of another name first, so that a half-made one is never taken for data.
    """
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    maker = named_account(account)
    private_folder(unfinished, maker)
    data = private_folder(unfinished / "data", maker)
    _write_private(unfinished / PASSWORD, secrets.token_hex(24), maker)
    _run_initdb(data, postgres.with_name("initdb"), maker, durable=durable)
    # `initdb` looks its user up in /etc/passwd and refuses one without a name; the server itself doesn't.
    if maker != account:
        hand_over(unfinished, account)
    (unfinished / PASSWORD).replace(folder / PASSWORD)
    # The last step of weight: once `data` exists it is complete, and the password that it was made with is in its
    # place already.
    data.rename(folder / "data")
    unfinished.rmdir()


def _run_initdb(data: Path, initdb: Path, account: Account, *, durable: bool) -> None:
    # It knows both by names that need no right on parents: its working folder is the data folder.
    where = account.working_folder(data)
    command = [
        str(initdb), "-D", where, "--pwfile", f"{where}/../{PASSWORD}",
        "--username=normlab", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]  # fmt: skip
    made = subprocess.run(
        command,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **account.enter(data),
    )
    if made.returncode != 0:
        raise ServerError(f"PostgreSQL could not make its data folder:\n{made.stdout.strip()}")


def _write_private(path: Path, text: str, account: Account) -> None:
    # O_EXCL: a file that is there already, perhaps with other rights, isn't written to.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchown(descriptor, account.uid, account.gid)
