"""`python -m migrations [upgrade|downgrade] [revision]` on the database of NORMLAB_DATABASE_URL.

After an upgrade to the present it also bootstraps: see `store.bootstrap`; the admin's token is
NORMLAB_BOOTSTRAP_TOKEN.

And it gives the roles of the API and of the workers their rights: see `migrations.rights`; they log in with
NORMLAB_API_DATABASE_PASSWORD and NORMLAB_WORKER_DATABASE_PASSWORD.
"""

import os
import sys

from migrations.rights import set_up_rights
from migrations.run import downgrade, upgrade
from store.bootstrap import bootstrap


def main(arguments: list[str]) -> None:
    url = os.environ.get("NORMLAB_DATABASE_URL")
    if not url:
        sys.exit("NORMLAB_DATABASE_URL is not set")
    match arguments:
        case [] | ["upgrade"]:
            upgrade(url)
            bootstrap(url, os.environ.get("NORMLAB_BOOTSTRAP_TOKEN"))
            set_up_rights(url)
        case ["upgrade", revision]:
            upgrade(url, revision)
        case ["downgrade", revision]:
            downgrade(url, revision)
        case _:
            sys.exit("usage: python -m migrations [upgrade|downgrade] [revision]")


if __name__ == "__main__":
    main(sys.argv[1:])
