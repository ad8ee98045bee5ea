"""The check that the ports of a stack are free."""

import socket
from contextlib import suppress

import psutil

from normlab.errors import StackError
from normlab.home import Home


def check_ports(home: Home) -> None:
    """Raises StackError that names the port, who has it and which variable moves ours."""
    ports = {"NORMLAB_API_PORT": home.api_port, "NORMLAB_MLFLOW_PORT": home.mlflow_port}
    if home.api_port == home.mlflow_port:
        raise StackError(f"NORMLAB_API_PORT and NORMLAB_MLFLOW_PORT are both {home.api_port}")
    for variable, port in ports.items():
        if is_taken(port):
            raise StackError(
                f"port {port} is taken by {port_owner(port)}; "
                f"choose another with {variable}, for example: {variable}={free_port(port)} normlab up"
            )


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Without it a port whose last connection is still in TIME_WAIT would look taken for a minute after a
        # stop.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free_port(above: int) -> int:
    return next((port for port in range(above + 1, 65536) if not is_taken(port)), above)


def port_owner(port: int) -> str:
    """`python (process 123)`, as far as we are allowed to see it."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr[1] == port
            ):
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {process.pid}, user {process.username()})"
    return "another process"
