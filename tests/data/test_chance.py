"""Randomness that depends on a key alone."""

import random

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from superpose.data.chance import seeded, uniforms


def splitmix(state, word):
    """SplitMix64 in whole numbers of any size."""
    z = (state + (word + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_uniforms_are_those_of_splitmix64():
    drawn = uniforms(np.array([5, 10**12]), 3, 7, 11)
    for row, index in enumerate((5, 10**12)):
        for draw in range(3):
            state = 0
            for word in (7, 11, index, draw):
                state = splitmix(state, word)
            assert drawn[row, draw] == np.float32((state >> 40) / 2**24)


def test_uniforms_are_uniform_and_change_with_each_word_of_the_key():
    first, second = (uniforms(np.arange(5000), 2, 0, epoch) for epoch in (0, 1))
    assert kstest(first.ravel(), "uniform").pvalue > 1e-3
    assert 0 <= first.min() < first.max() < 1
    columns = np.corrcoef([*first.T, *second.T, first[:, 0] * 0 + np.roll(first[:, 0], 1)])
    assert abs(columns - np.eye(5)).max() < 0.06


def test_seeded_decides_all_global_states_and_gives_them_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    with seeded(1, 2):
        first = draw()
    with seeded(1, 3):
        other = draw()
    with seeded(1, 2):
        assert draw() == first
    assert all(a != b for a, b in zip(first, other, strict=True))
    with pytest.raises(KeyError), seeded(1):
        raise KeyError
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
