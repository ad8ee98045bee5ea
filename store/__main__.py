"""`python -m store bootstrap`: fill the database of NORMLAB_DATABASE_URL with what every service needs.

The admin's token is NORMLAB_BOOTSTRAP_TOKEN.
"""

import os
import sys

from store.bootstrap import bootstrap

if __name__ == "__main__":
    if sys.argv[1:] != ["bootstrap"]:
        sys.exit("usage: python -m store bootstrap")
    bootstrap(os.environ["NORMLAB_DATABASE_URL"], os.environ.get("NORMLAB_BOOTSTRAP_TOKEN"))
