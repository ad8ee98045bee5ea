"""`python -m migrations [upgrade|downgrade] [revision]` on the database of NORMLAB_DATABASE_URL.

After an upgrade to the present it also bootstraps: see `store.accounts.bootstrap`; the first admin's token is
NORMLAB_BOOTSTRAP_TOKEN. A database that has users keeps them as they are; whoever has lost every way in
runs `python -m migrations reset-admin`, which makes NORMLAB_BOOTSTRAP_TOKEN a token of the user `admin`.

And it gives the roles of the API and of the workers their rights: see `migrations.rights`; they log in with
NORMLAB_API_DATABASE_PASSWORD and NORMLAB_WORKER_DATABASE_PASSWORD.
"""

import os
import sys

from sqlalchemy.exc import OperationalError

from migrations.rights import set_up_rights
from migrations.roles import cannot_connect
from migrations.run import downgrade, upgrade
from store.accounts import bootstrap, ensure_strong, has_users, reset_admin
from store.db import BadSecret

SECRET = "NORMLAB_BOOTSTRAP_TOKEN"  # noqa: S105 - the variable's name
USAGE = "usage: python -m migrations [upgrade|downgrade] [revision] | reset-admin"


def main(arguments: list[str]) -> None:
    url = os.environ.get("NORMLAB_DATABASE_URL")
    if not url:
        sys.exit("NORMLAB_DATABASE_URL is not set")
    try:
        _run(arguments, url, os.environ.get(SECRET))
    except BadSecret as error:
        sys.exit(f"{SECRET} is refused, and nothing was changed: {error}")
    except OperationalError as error:
        if error.statement is not None:  # not from connecting
            raise
        sys.exit(cannot_connect(error.orig or error))


def _run(arguments: list[str], url: str, secret: str | None) -> None:
    match arguments:
        case [] | ["upgrade"]:
            _upgrade_and_bootstrap(url, secret)
            set_up_rights(url)
        case ["upgrade", revision]:
            upgrade(url, revision)
        case ["downgrade", revision]:
            downgrade(url, revision)
        case ["reset-admin"]:
            if not secret:
                sys.exit(f"reset-admin makes {SECRET} an admin's token, but it is not set")
            _say(*reset_admin(url, secret))
        case _:
            sys.exit(USAGE)


def _upgrade_and_bootstrap(url: str, secret: str | None) -> None:
    usable = secret
    if secret:
        try:
            ensure_strong(secret)
        except BadSecret:
            # An installation may be older than this rule: it isn't used where there are users.
            if not has_users(url):
                raise
            usable = None
    upgrade(url)
    if bootstrap(url, usable):
        _say(f"made the first user, admin, whose token is {SECRET}")
    elif secret:
        _say(
            f"the database has users already, and {SECRET} was not used; "
            "`python -m migrations reset-admin` makes a strong one an admin's token"
        )


def _say(*lines: str) -> None:
    for line in lines:
        print(line)  # noqa: T201 - the command's voice


if __name__ == "__main__":
    main(sys.argv[1:])
