"""Recurrences that give all derivatives of two kinds of function without differentiating anything."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def three_term(
    t: Float[Tensor, "*batch"], order: int, num: int, rule: Callable[[int], tuple[float, float]]
) -> Float[Tensor, "*batch num"]:
    r"""Derivatives of the polynomials $p_0 = 1$, $p_1 = t$, $p_n = a_n t\, p_{n-1} - b_n p_{n-2}$.

    Differentiated k times (Leibniz), the rule is $p_n^{(k)} = a_n (t\, p_{n-1}^{(k)} + k\, p_{n-1}^{(k-1)}) - b_n
    p_{n-2}^{(k)}$: a polynomial in t, so every further derivative exists everywhere.

    Args:
        t: Points, any real numbers.
        order: Order k of the derivative; 0 gives the values.
        num: Number of polynomials.
        rule: Gives $a_n$ and $b_n$ for n of 2 or more.
    """
    zero = t * 0  # and not zeros_like, so that NaN stays NaN
    values = [zero] * num
    for k in range(order + 1):
        lower, values = values, [zero + (k == 0), t if k == 0 else zero + (k == 1)]
        for n in range(2, num):
            a, b = rule(n)
            values.append(a * (t * values[-1] + k * lower[n - 1]) - b * values[-2])
    return torch.stack(values[:num], -1)


def gaussian(z: Float[Tensor, "*batch"], order: int) -> Float[Tensor, "*batch"]:
    r"""Derivatives of $g(z) = e^{-z^2/2}$, by $g^{(k+1)} = -z g^{(k)} - k g^{(k-1)}$ (Hermite polynomials times g)."""
    below, value = torch.zeros_like(z), torch.exp(-z * z / 2)
    for k in range(order):
        below, value = value, -z * value - k * below
    return value
