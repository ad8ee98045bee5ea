"""`python -m worker.execution STUDY`: makes what follows from the study's trials, where whoever ended the last did not."""

import sys

from runtime.logs import configure_logging
from store.db import make_engine, make_sessions
from worker.execution.outcome import continue_study
from worker.settings import Settings


def main() -> int:
    settings = Settings()
    configure_logging(settings.log_level)
    engine = make_engine(settings.database_url, pool_size=1)
    continue_study(make_sessions(engine), int(sys.argv[1]))
    engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
