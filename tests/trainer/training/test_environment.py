"""What is recorded about where a training ran, and how torch is set up for it."""

import torch

from trainer.code_versions import GENERATIONS
from trainer.spec.job import Numerics
from trainer.training.environment import apply_numerics, describe_change, describe_environment

CPU = torch.device("cpu")


def test_the_environment_is_text_and_names_what_numerics_hang_on():
    found = describe_environment(Numerics(threads=2), CPU)
    assert {"torch", "python", "platform", "cpu_capability", "device", "threads"} <= found.keys()
    assert found["threads"] == "2"
    assert all(type(value) is str for value in found.values())


def test_the_same_environment_is_no_change_and_another_is_named():
    now = describe_environment(Numerics(), CPU)
    assert describe_change(now, now) is None
    warning = describe_change({**now, "cpu_capability": "NONE"}, now)
    assert warning is not None
    assert "cpu_capability (NONE → " in warning
    assert "torch" not in warning


def test_code_of_the_same_generation_is_no_change():
    now = describe_environment(Numerics(), CPU)
    first, second = [code for code, generation in GENERATIONS.items() if generation == 1][:2]
    assert describe_change({**now, "code": first}, {**now, "code": second}) is None
    other = describe_change({**now, "code": first}, now)
    assert other is not None
    assert "code (generation 1 → " in other
    warning = describe_change({**now, "code": "of nobody knows when"}, now)
    assert warning is not None
    assert "code (of nobody knows when → " in warning


def test_numerics_set_torch_up():
    before = torch.get_num_threads()
    try:
        apply_numerics(Numerics(threads=1, deterministic=False))
        assert not torch.are_deterministic_algorithms_enabled()
        apply_numerics(Numerics(threads=1))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
