"""Named random streams: stable for ever, apart from each other, and polite to the global ones."""

import random
import subprocess
import sys

import numpy
import torch

from trainer.random_streams import generator, seed_globals, seeded, stream_seed


def test_seeds_are_the_same_in_every_process_and_for_ever():
    assert stream_seed("init", 0) == 6174512042922074880
    code = "from trainer.random_streams import stream_seed; print(stream_seed('order', 3, 7))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(other) == stream_seed("order", 3, 7)


def test_every_argument_changes_the_seed_and_all_fit_into_63_bits():
    seeds = {
        stream_seed(stream, seed, step)
        for stream in ("init", "order", "augmentation", "dropout", "split")
        for seed in range(5)
        for step in range(5)
    }
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeding_the_globals_fixes_python_numpy_and_torch():
    def draw() -> tuple[float, float, float]:
        seed_globals("dropout", 1, 2)
        return random.random(), float(numpy.random.rand()), torch.rand(1).item()

    assert draw() == draw()


def test_a_generator_starts_where_its_stream_says():
    first = torch.rand(3, generator=generator("order", 1))
    assert torch.equal(first, torch.rand(3, generator=generator("order", 1)))
    assert not torch.equal(first, torch.rand(3, generator=generator("order", 2)))


def test_a_seeded_block_leaves_the_global_generators_as_they_were():
    seed_globals("order", 0)
    expected = (random.random(), float(numpy.random.rand()), torch.rand(1).item())
    seed_globals("order", 0)
    with seeded("init", 5):
        random.random(), numpy.random.rand(), torch.rand(1)
    assert (random.random(), float(numpy.random.rand()), torch.rand(1).item()) == expected
