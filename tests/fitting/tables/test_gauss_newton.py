"""The evidence chooses how wiggly a table's functions may be."""

import numpy as np
import pytest
import torch

from superpose import KANRegressor
from superpose.fitting.tables.gauss_newton import Priors


def noisy_table(rows, seed, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 6))
    return x, np.sin(3 * x[:, 0]) + noise * rng.standard_normal(rows), np.sin(3 * x[:, 0])


@pytest.mark.parametrize("seed", range(3))
def test_inputs_without_a_part_are_held_down_and_noise_is_not_fitted(seed):
    """With penalties that never move the error is about twice as large."""
    x, y, _ = noisy_table(150, seed)
    model = KANRegressor(hidden=(), intervals=8, random_state=0).fit(x, y)
    fresh = noisy_table(2000, 100 + seed)
    error = np.sqrt(np.mean((model.predict(fresh[0]) - fresh[2]) ** 2))
    assert error < 0.19
    assert np.std(y - model.predict(x)) > 0.4


def test_precisions_go_up_for_small_parameters_and_down_for_large_ones():
    priors = Priors(torch.tensor([0, 0, 1, 1]), torch.ones(4).double(), torch.ones(2).double(), 1.0)
    parameters = torch.tensor([3.0, -3.0, 0.1, 0.1]).double()
    determined = priors.updated_(parameters, torch.full((4,), 0.25).double())
    assert determined == pytest.approx(3.0)
    # The number of determined parameters over their squares: 1.5 / 18 and 1.5 / 0.02, but a tenth to ten times a step.
    assert priors.precision.tolist() == pytest.approx([0.1, 10.0])
