"""Functions that benchmarks fit, and samples of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import scipy.special
import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """A function of several variables and the box it is sampled from.

    Attributes:
        name: What a table calls it.
        ranges: Lower and upper end for each variable.
        function: Maps columns of a float64 table to one column.
    """

    name: str
    ranges: tuple[tuple[float, float], ...]
    function: Callable[[Tensor], Tensor]

    @property
    def inputs(self) -> int:
        """Number of variables."""
        return len(self.ranges)

    def sample(self, rows: int, seed: int) -> tuple[Tensor, Tensor]:
        """Points spread evenly at random over the box, and the values there, in float64."""
        generator = torch.Generator().manual_seed(seed)
        low, high = torch.tensor(self.ranges, dtype=torch.float64).T
        x = low + (high - low) * torch.rand(rows, self.inputs, generator=generator, dtype=torch.float64)
        return x, self.function(x).unsqueeze(1)


def cube(inputs: int) -> tuple[tuple[float, float], ...]:
    """The box from -1 to 1 in every variable."""
    return ((-1.0, 1.0),) * inputs


def _four(x: Tensor) -> Tensor:
    squares = x.square()
    return (
        ((math.pi * (squares[:, 0] + squares[:, 1])).sin() + (math.pi * (squares[:, 2] + squares[:, 3])).sin()) / 2
    ).exp()


EXP_SIN = Problem("exp(sin(pi x) + y^2)", cube(2), lambda x: ((math.pi * x[:, 0]).sin() + x[:, 1].square()).exp())
PRODUCT = Problem("x y", cube(2), lambda x: x[:, 0] * x[:, 1])
BESSEL = Problem("J0(20 x)", cube(1), lambda x: torch.from_numpy(scipy.special.j0(20 * x[:, 0].numpy())))
HUNDRED = Problem(
    "exp(mean of 100 sin^2(pi x_i / 2))", cube(100), lambda x: (math.pi * x / 2).sin().square().mean(1).exp()
)
FOUR_VARIABLES = Problem("exp((sin pi(a^2 + b^2) + sin pi(c^2 + d^2)) / 2)", cube(4), _four)

TEST_SEED = 10_000
"""Test tables come from this seed and the following ones, training tables from 0 on."""
