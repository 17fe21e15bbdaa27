"""The group-rational function: its definition against loops over elements, SymPy and published numbers, and its checks."""

import math

import numpy as np
import pytest
import sympy
import torch

import superpose
from superpose.ops.rational import CANDIDATES, groups_of, rational, rational_linear, reference

FORMS = ("sum_abs", "abs_sum")

# Coefficients of the first models (Yang and Wang 2024), of the numerator and the denominator.
PUBLISHED = {
    "swish": (
        [3.054879741161051e-07, 0.5000007853744493, 0.24999783422824703, 0.05326628273219478, 0.005803034571292244, 0.0002751961022402342],
        [-4.111554955950634e-06, 0.10652899335007572, -1.2690007399796238e-06, 0.0005502331264140556],
    ),
    "gelu": (
        [-0.00153969, 0.51692871, 0.44075827, 0.0972553, -0.00884418, -0.00378675],
        [-0.14171056, -0.06481231, -0.0444695, 0.01283776],
    ),
    "tanh": (
        [-1.0804622559204184e-08, 1.0003008043819048, -2.5878199375289335e-08, 0.09632129918392647, 3.4775841628196104e-09, 0.0004255709234726337],
        [-0.0013027181209176277, 0.428349017422072, 1.4524304083061898e-09, 0.010796648111337176],
    ),
}  # fmt: skip


def published(name):
    return [torch.tensor([coefficients], dtype=torch.float64) for coefficients in PUBLISHED[name]]


def by_loops(x, a, b, form, axis, grad):
    """Values and gradients, element by element, with the formulas written out."""
    channels, groups = x.shape[axis], max(len(a), len(b))
    y, dx, da, db = np.zeros_like(x), np.zeros_like(x), np.zeros_like(a), np.zeros_like(b)
    for index, v in np.ndenumerate(x):
        group = index[axis] * groups // channels
        row, col = group if len(a) > 1 else 0, group if len(b) > 1 else 0
        powers = [v**k for k in range(max(a.shape[1], b.shape[1] + 1))]
        numerator = sum(a[row, i] * powers[i] for i in range(a.shape[1]))
        rise = sum(i * a[row, i] * powers[i - 1] for i in range(1, a.shape[1]))
        if form == "sum_abs":
            sign = [1.0 if each >= 0 else -1.0 for each in b[col]]
            terms = [sign[j] * abs(powers[j + 1]) for j in range(b.shape[1])]
            below = 1 + sum(b[col, j] * terms[j] for j in range(b.shape[1]))
            side = 1.0 if v >= 0 else -1.0
            growth = side * sum((j + 1) * abs(b[col, j]) * abs(powers[j]) for j in range(b.shape[1]))
        else:
            inner = sum(b[col, j] * powers[j + 1] for j in range(b.shape[1]))
            side = 1.0 if inner >= 0 else -1.0
            terms = [side * powers[j + 1] for j in range(b.shape[1])]
            below = 1 + abs(inner)
            growth = side * sum((j + 1) * b[col, j] * powers[j] for j in range(b.shape[1]))
        y[index] = numerator / below
        share = grad[index] / below
        dx[index] = share * (rise - growth * y[index])
        for i in range(a.shape[1]):
            da[row, i] += share * powers[i]
        for j in range(b.shape[1]):
            db[col, j] -= share * y[index] * terms[j]
    return y, dx, da, db


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("shape", "axis", "rows", "degrees"),
    [
        ((5, 16), -1, (1, 8), (5, 4)),
        ((3, 7, 4), 1, (3, 3), (5, 4)),  # seven channels in three groups
        ((2, 3, 4, 5), 1, (8, 1), (2, 3)),  # fewer channels than groups
        ((9,), 0, (4, 4), (0, 1)),
        ((4, 6), 1, (1, 1), (3, 0)),
    ],
)
def test_a_loop_over_elements(form, shape, axis, rows, degrees, generator):
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    x.view(-1)[:3] = torch.tensor([0.0, -0.0, 1.0])
    a = torch.randn(rows[0], degrees[0] + 1, generator=generator, dtype=torch.float64)
    b = torch.randn(rows[1], degrees[1], generator=generator, dtype=torch.float64)
    b[:1, :1] = 0
    grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (x, a, b)]
    with superpose.using(rational="reference"):
        y = rational(x, a, b, form, axis)
    found = torch.autograd.grad(y, leaves, grad, materialize_grads=True)
    expected = by_loops(x.detach().numpy(), a.detach().numpy(), b.detach().numpy(), form, axis, grad.numpy())
    for mine, theirs in zip((y.detach(), *found), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_by_sympy(form):
    """The first two derivatives by x, away from zero."""
    x = sympy.Symbol("x", real=True)
    a, b = ([sympy.Float(c, 30) for c in part] for part in PUBLISHED["gelu"])
    numerator = sum(c * x**i for i, c in enumerate(a))
    if form == "sum_abs":
        below = 1 + sum(sympy.Abs(c) * sympy.Abs(x) ** (j + 1) for j, c in enumerate(b))
    else:
        below = 1 + sympy.Abs(sum(c * x ** (j + 1) for j, c in enumerate(b)))
    points = torch.tensor([-2.5, -0.7, 0.3, 1.9], dtype=torch.float64)
    scalar = lambda t: rational(t.unsqueeze(0), *published("gelu"), form)[0]  # noqa: E731
    slope = torch.func.grad(scalar)
    exact = numerator / below
    for function in (scalar, slope, torch.func.grad(slope)):
        values = [float(exact.subs(x, sympy.Float(p, 30)).evalf(25)) for p in points.tolist()]
        torch.testing.assert_close(
            torch.func.vmap(function)(points), torch.tensor(values, dtype=torch.float64), rtol=1e-11, atol=1e-12
        )
        exact = sympy.diff(exact, x)


def test_published_values():
    """Tails of the functions that the first models began with, computed elsewhere from the same coefficients."""
    tails = {-10: -0.161, -20: -2.19, -100: -39.6, 20: 17.8, 100: 60.4}
    for point, value in tails.items():
        x = torch.full((1, 1), float(point), dtype=torch.float64)
        assert float(rational(x, *published("swish"))) == pytest.approx(value, rel=5e-3)
    three, ten = rational(torch.tensor([[3.0], [10.0]], dtype=torch.float64), *published("gelu")).flatten().tolist()
    assert three == pytest.approx(1.53, abs=5e-3)
    assert ten == pytest.approx(-1.76, abs=5e-3)


@pytest.mark.parametrize(
    ("name", "form", "error"),
    [("swish", "sum_abs", 1.2e-6), ("swish", "abs_sum", 1.3e-4), ("gelu", "sum_abs", 1.46), ("gelu", "abs_sum", 2.9e-3), ("tanh", "sum_abs", 4e-5)],
)  # fmt: skip
def test_which_form_published_coefficients_were_fitted_for(name, form, error):
    x = torch.linspace(-3, 3, 2001, dtype=torch.float64).unsqueeze(1)
    target = {"swish": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu, "tanh": torch.tanh}[name](x)
    assert float((rational(x, *published(name), form) - target).abs().max()) == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form, generator):
    x, a, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 2, 8), (1, 6), (4, 4))
    )
    with superpose.using(rational="reference"):
        assert torch.autograd.gradcheck(lambda *t: rational(*t, form), (x, a, b), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(lambda *t: rational(*t, form), (x[:1], a, b))


@pytest.mark.parametrize("implementation", superpose._select.IMPLEMENTATIONS["rational"])
def test_absolute_values_rise_at_zero(implementation):
    """So that coefficients that begin at zero, as those of the identity, learn."""
    x = torch.tensor([[2.0]])
    a, b = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2, requires_grad=True)
    obstacle = CANDIDATES[implementation](x, a, b, "sum_abs", 1)
    if obstacle is not None:
        pytest.skip(obstacle)
    for form in FORMS:
        with superpose.using(rational=implementation):
            assert torch.autograd.grad(rational(x, a, b, form).sum(), b)[0].tolist() == [[-4.0, -8.0]]
            for zero in (0.0, -0.0):
                at_zero = torch.tensor([[zero]], requires_grad=True)
                out = rational(at_zero, torch.tensor([[1.0]]), torch.tensor([[3.0]]), form)
                assert torch.autograd.grad(out, at_zero, torch.ones(1, 1))[0].item() == -3.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("coefficients", [torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype, coefficients, generator):
    """The result has the dtype of x, gradients have those of their arguments, and powers do not overflow in 16 bits."""
    x = torch.linspace(-30, 60, 48, dtype=torch.float64).view(3, 16).to(dtype).requires_grad_()
    a, b = (each.to(coefficients).requires_grad_() for each in published("swish"))
    wide = [tensor.detach().double().requires_grad_() for tensor in (x, a, b)]
    exact = reference.rational(*wide, "sum_abs", 1)
    out = rational(x, a, b)
    grads, wanted = (torch.autograd.grad(y.sum(), leaves) for y, leaves in ((out, (x, a, b)), (exact, wide)))
    computed = torch.promote_types(torch.promote_types(dtype, coefficients), torch.float32)
    for mine, theirs, like in zip((out, *grads), (exact, *wanted), (x, x, a, b), strict=True):
        assert mine.dtype is like.dtype
        atol = 100 * torch.finfo(computed).eps * float(theirs.detach().abs().max())
        torch.testing.assert_close(mine.double(), theirs, rtol=torch.finfo(like.dtype).eps, atol=atol)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 8), (2, 0, 4)])
def test_nothing(shape):
    for axis in range(len(shape)):
        x, a, b = (torch.ones(s, requires_grad=True) for s in (shape, (1, 6), (8, 4)))
        out = rational(x, a, b, axis=axis)
        assert out.shape == shape
        assert not any(g.any() for g in torch.autograd.grad(out.sum(), (x, a, b)))


@pytest.mark.parametrize(("channels", "groups"), [(8, 8), (255, 8), (3, 8), (1, 1), (10, 4)])
def test_groups_are_contiguous_and_even(channels, groups):
    found = groups_of(channels, groups).tolist()
    assert found == sorted(found)
    sizes = [found.count(group) for group in range(groups)]
    assert max(sizes) - min(sizes) <= 1
    assert found == [math.floor(c * groups / channels) for c in range(channels)]


def test_strange_points_stay_with_themselves():
    x = torch.tensor([[math.nan, 1.0], [2.0, math.inf]])
    out = rational(x, *(each.float() for each in published("swish")))
    assert out.isfinite().tolist() == [[False, True], [True, False]]


X, A, B = torch.ones(2, 8), torch.ones(1, 6), torch.ones(4, 4)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((X, A, B, "sum"), ValueError, "form is 'sum'; choose one of sum_abs, abs_sum"),
        ((X, A, B, "sum_abs", 2), ValueError, "axis is 2, but x has 2 axes"),
        ((torch.tensor(1.0), A, B), ValueError, "axis is -1, but x has 0 axes"),
        ((X, A[0], B), ValueError, "numerator must have shape"),
        ((X, A[:, :0], B), ValueError, "numerator must have shape"),
        ((X, torch.ones(2, 6), B), ValueError, "for 2 groups and denominator for 4"),
        ((X, A, B[:0]), ValueError, "must agree"),
        ((X.long(), A, B), TypeError, "x must hold floating-point numbers, got torch.int64"),
        ((X, A.int(), B), TypeError, "numerator must hold floating-point"),
    ],
)
def test_what_is_refused(args, error, message):
    with pytest.raises(error, match=message):
        rational(*args)


@pytest.mark.parametrize(
    ("weight", "bias", "error", "message"),
    [
        (torch.ones(3, 7), None, ValueError, r"weight must have shape \(outputs, 8\)"),
        (torch.ones(3, 8), torch.ones(2), ValueError, r"bias must have shape \(3,\)"),
        (
            torch.ones(3, 8).double(),
            None,
            TypeError,
            "float32, torch.float64; convert them to one, or use torch.autocast",
        ),
    ],
)
def test_what_a_linear_map_refuses(weight, bias, error, message):
    with pytest.raises(error, match=message):
        rational_linear(X, A, B, weight, bias)
