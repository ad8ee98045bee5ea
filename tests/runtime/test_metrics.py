"""What a process tells of itself, over real HTTP."""

import socket
from urllib.request import urlopen

import pytest
from pydantic import TypeAdapter, ValidationError
from structlog.testing import capture_logs

from runtime.metrics import MetricsAddress, Rounds, make_registry, serve


def test_the_rounds_of_a_loop_are_handed_out(free_address: str) -> None:
    registry = make_registry("sweep")
    rounds = Rounds(registry, "sweep_round")
    with rounds.timed():
        pass
    with pytest.raises(ZeroDivisionError), rounds.timed():
        1 / 0  # noqa: B018 - it fails
    serve(registry, free_address)
    with urlopen(f"http://{free_address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    assert "normlab_sweep_round_duration_seconds_count 1.0" in text
    assert "normlab_sweep_round_last_timestamp_seconds 0.0" not in text
    assert 'process="sweep"' in text
    assert "process_resident_memory_bytes" in text


def test_a_port_that_is_taken_is_said_and_no_more(free_address: str) -> None:
    host, _, port = free_address.rpartition(":")
    with socket.create_server((host, int(port))), capture_logs() as logs:
        serve(make_registry("sweep"), free_address)
    assert [(one["log_level"], one["address"]) for one in logs] == [("warning", free_address)]


@pytest.mark.parametrize("value", ["9101", "localhost", "http://127.0.0.1:9101", "a:b"])
def test_an_address_is_a_host_and_a_port(value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(MetricsAddress).validate_python(value)


@pytest.mark.parametrize(
    ("value", "address"), [("127.0.0.1:9101", "127.0.0.1:9101"), ("", None), (None, None)]
)
def test_without_an_address_nothing_is_handed_out(value: str | None, address: str | None) -> None:
    assert TypeAdapter(MetricsAddress).validate_python(value) == address


@pytest.fixture
def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    return f"{host}:{port}"
