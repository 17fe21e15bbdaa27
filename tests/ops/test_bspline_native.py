"""The compiled B-spline layer against the reference in float64 and SciPy: values and gradients, on every instruction set.

Tolerances are in units of the rounding error of the dtype times the size of the terms that are summed.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline as ScipyBSpline

import superpose
from superpose.ops.bspline import bspline_linear, native, reference

kernels = pytest.importorskip("superpose._kernels", reason="there are no compiled kernels", exc_type=ImportError)

DEGREES = (1, 2, 3)
EXTRAPOLATIONS = ("linear", "clamp", "zero")
ROUNDINGS = 100
"""Rounding errors of the largest term that a sum may be off by; the sums here have up to some hundred terms."""


def make_knots(intervals, degree, rows=1, even=True, generator=None, dtype=torch.float64):
    """Knots over about [-1, 1], shifted a little in each row; uneven ones have steps between 1 and 1000."""
    count = intervals + 2 * degree + 1
    if even:
        steps = torch.full((rows, count), 2 / intervals, dtype=torch.float64)
    else:
        steps = 1000 ** torch.rand(rows, count, generator=generator, dtype=torch.float64)
        steps *= 2 / steps[:, degree : degree + intervals].sum(-1, keepdim=True)
    knots = steps.cumsum(-1)
    return (knots - knots[:, degree, None] - 1 + 0.1 * torch.arange(rows).unsqueeze(-1)).to(dtype)


def make_points(samples, inputs, knots, degree, generator, reach=0.2):
    """Points within and a little outside the domain, and in the first rows the knots and the numbers beside them."""
    low, high = knots[:, degree], knots[:, -degree - 1]
    x = torch.rand(samples, inputs, generator=generator, dtype=torch.float64)
    x = (low - reach + (high - low + 2 * reach) * x).to(knots.dtype)
    inner = knots[:, degree : knots.shape[-1] - degree].T
    special = torch.cat([inner[[0, -1]], inner, *(inner.nextafter(torch.tensor(s).to(inner)) for s in (-9, 9))])
    special = special[:samples].expand(-1, inputs)
    return torch.cat([special, x[len(special) :]])


def make_case(
    generator, samples=60, inputs=3, outputs=5, intervals=6, degree=3, extrapolation="linear",
    rows=1, even=True, base=True, dtype=torch.float64,
):  # fmt: skip
    knots = make_knots(intervals, degree, rows, even, generator, dtype)
    x = make_points(samples, inputs, knots, degree, generator)
    coef = torch.randn(inputs, intervals + degree, outputs, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64).to(dtype) if base else None
    return x, coef, knots, degree, extrapolation, weight


def results(function, args, grad):
    """The output and the gradients of x, coef and weight."""
    x, coef, knots, degree, extrapolation, weight = args
    leaves = [None if t is None else t.detach().requires_grad_() for t in (x, coef, weight)]
    out = function(leaves[0], leaves[1], knots, degree, extrapolation, leaves[2])
    return [out.detach(), *torch.autograd.grad(out, [t for t in leaves if t is not None], grad)]


def exact(args, grad):
    wide = [arg.double() if isinstance(arg, torch.Tensor) else arg for arg in args]
    return results(reference.bspline_linear, wide, grad.double())


def sizes(args, grad):
    """How large the terms are that each result sums up, or more."""
    x, coef, knots, degree, _, weight = (a.double() if isinstance(a, torch.Tensor) else a for a in args)
    beyond = torch.maximum(knots[:, degree] - x, x - knots[:, -degree - 1]).clamp(min=0)
    steepest = 2 * degree / (knots[:, degree:] - knots[:, :-degree]).amin(-1)  # above any sum of B_m'
    reach = (1 + beyond * steepest).amax() * max(1, x.shape[-1])
    largest, base = coef.abs().amax(), 0 if weight is None else weight.abs().amax()
    sums, all_sums = grad.double().abs().sum(-1).amax(), grad.double().abs().sum(0).amax()
    arm = x.abs().amax()
    forward = largest * reach + base * arm * x.shape[-1]
    return [forward, sums * (largest * steepest.amax() + 2 * base), all_sums * reach, all_sums * arm]


def assert_same(args, grad=None, generator=None):
    """Values and gradients of the compiled layer are the reference's."""
    if grad is None:
        grad = torch.randn(args[0].shape[0], args[1].shape[-1], generator=generator, dtype=torch.float64).to(args[0])
    assert native.obstacle(*args) is None
    ours, expected = results(native.bspline_linear, args, grad), exact(args, grad)
    dtype = args[0].dtype
    if not args[0].numel():
        assert ours[0].shape == expected[0].shape
        assert not any(gradient.any() for gradient in ours[1:])
        return
    eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    # Numbers of 16 bits are computed in float32 and rounded once at the end.
    stored = torch.finfo(dtype).eps if dtype.itemsize == 2 else 0
    for mine, theirs, size in zip(ours, expected, sizes(args, grad), strict=False):
        assert mine.dtype == dtype
        assert mine.shape == theirs.shape
        allowed = float(ROUNDINGS * eps * size) + torch.finfo(dtype).smallest_normal
        torch.testing.assert_close(mine.double(), theirs, rtol=stored, atol=allowed)


@pytest.mark.usefixtures("level", "poisoned_memory")
@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
def test_float64(degree, extrapolation, generator):
    for rows, even, base in ((1, True, True), (3, True, False), (1, False, True), (3, False, False)):
        args = make_case(generator, degree=degree, extrapolation=extrapolation, rows=rows, even=even, base=base)
        assert_same(args, generator=generator)
        if even:  # no slope of 1000, so the error is in proportion to the results themselves
            grad = torch.randn(60, 5, generator=generator, dtype=torch.float64)
            for mine, theirs in zip(results(native.bspline_linear, args, grad), exact(args, grad), strict=True):
                assert (mine - theirs).abs().max() <= 1e-12 * theirs.abs().max()


@pytest.mark.usefixtures("level", "poisoned_memory")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype, generator):
    for degree in DEGREES:
        for even in (True, False):
            args = list(make_case(generator, degree=degree, rows=3, even=even, base=degree != 2))
            if dtype.itemsize == 2 and not even:  # steps that 16 bits can tell apart
                args[2] = torch.tensor([-8, -6, -5, -4, -2.5, -2, -1, 1, 2, 4, 7, 8, 10])[
                    None, 3 - degree : 10 + degree
                ]
                args[0] = args[0] * 5
            args = [arg.to(dtype) if isinstance(arg, torch.Tensor) else arg for arg in args]
            assert_same(args, generator=generator)


@pytest.mark.usefixtures("level", "poisoned_memory")
@pytest.mark.parametrize("degree", DEGREES)
def test_few_outputs(degree, generator):
    """Float32, even knots, few outputs: some instruction sets have kernels of their own, for batches of 1024 samples."""
    for extrapolation in EXTRAPOLATIONS:
        for samples, inputs, outputs, intervals in (
            (64, 1, 1, 1),
            (1030, 3, 5, 5),
            (1024, 18, 2, 29),
            (2100, 2, 8, 20),
        ):
            args = make_case(
                generator, samples, inputs, outputs, intervals, degree, extrapolation,
                rows=inputs if outputs == 5 else 1, base=outputs != 2, dtype=torch.float32,
            )  # fmt: skip
            assert_same(args, generator=generator)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("degree", DEGREES)
def test_a_loop_over_edges_by_scipy(degree, generator):
    x, coef, knots, *rest, weight = make_case(generator, samples=40, degree=degree, rows=3, even=False)
    x = x.clamp(knots[:, degree], knots[:, -degree - 1])
    expected = np.zeros((40, 5))
    for i in range(3):
        points = x[:, i].numpy()
        for o in range(5):
            spline = ScipyBSpline(knots[i].numpy(), coef[i, :, o].numpy(), degree)
            expected[:, o] += spline(points) + weight[o, i].item() * points / (1 + np.exp(-points))
    np.testing.assert_allclose(native.bspline_linear(x, coef, knots, *rest, weight), expected, rtol=1e-12, atol=1e-12)


@st.composite
def shapes(draw):
    """Sizes that end in the middle of vectors, strips, groups and batches, few enough for the reference."""
    intervals = draw(st.sampled_from([1, 2, 3, 4, 5, 9, 17, 64, 127, 128, 129, 260]) | st.integers(1, 260))
    inputs = draw(st.sampled_from([1, 2, 15, 16, 17, 31, 33, 40]) | st.integers(1, 40))
    most = max(1, min(700, 400_000 // (inputs * (intervals + 3))))
    samples = draw(
        st.integers(0, most) | st.just(most) | st.sampled_from([1, 127, 128, 129]).filter(lambda n: n <= most)
    )
    outputs = draw(st.sampled_from([1, 4, 15, 16, 17, 63, 64, 65, 128, 140]) | st.integers(1, 140))
    return {"samples": samples, "inputs": inputs, "outputs": outputs, "intervals": intervals}


@settings(max_examples=70, derandomize=True, deadline=None, database=None)
@given(
    shape=shapes(),
    degree=st.sampled_from(DEGREES),
    extrapolation=st.sampled_from(EXTRAPOLATIONS),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    name=st.sampled_from(kernels.LEVELS),
)
def test_any_shape(instructions, shape, degree, extrapolation, flags, name):
    generator = torch.Generator().manual_seed(0)
    own, even, base, wide = flags
    dtype = torch.float64 if wide or not even else torch.float32  # steps of 1:1000 are lost in float32
    rows = shape["inputs"] if own else 1
    args = make_case(
        generator, **shape, degree=degree, extrapolation=extrapolation, rows=rows, even=even, base=base, dtype=dtype
    )
    with instructions(name):
        assert_same(args, generator=generator)


@pytest.mark.usefixtures("level", "poisoned_memory")
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
def test_strange_points(extrapolation, generator):
    """NaN, infinite, huge and tiny points: no crash, the sample next to them untouched, NaN only where the reference has it."""
    strange = [torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 5e-324, -1e-40, -0.0, 1e290, -1e290, -200, 800]
    strange = torch.tensor(strange, dtype=torch.float64)
    narrow, wide = torch.float32, torch.float64
    for degree, even, dtype in (
        (1, True, wide),
        (2, False, wide),
        (3, True, wide),
        (3, False, wide),
        (3, True, narrow),
    ):
        args = make_case(
            generator,
            samples=70,
            inputs=17,
            degree=degree,
            extrapolation=extrapolation,
            even=even,
            rows=17,
            dtype=dtype,
        )
        usual = native.bspline_linear(*args)
        x = args[0].clone()
        for row, value in enumerate(strange.to(dtype)):
            x[5 * row + 3, row % 17] = value
        changed = (x != args[0]).any(-1)
        args = x, *args[1:]
        grad = torch.randn(70, 5, generator=generator, dtype=dtype)
        ours, expected = results(native.bspline_linear, args, grad), exact(args, grad)
        assert torch.equal(ours[0][~changed], usual[~changed])
        assert ours[0][x.isnan().any(-1)].isnan().all()
        for mine, theirs in zip(ours, expected, strict=True):
            assert mine[theirs.isfinite()].isfinite().all()
        assert not (ours[0].isnan() & ~expected[0].isnan()).any()
        assert torch.equal(ours[0].isinf() & ~expected[0].isnan(), expected[0].isinf())
        assert torch.equal(ours[1].isnan(), expected[1].isnan())
        finite = expected[0].isfinite().all(-1)
        scale = 1 + x[finite].abs().amax(
            -1, keepdim=True
        )  # of everything that a row sums up, up to the slope at the end
        slope = 6 / (args[2].diff(dim=-1).amin().item())
        for mine, theirs in zip(ours[:2], expected[:2], strict=True):
            error = (mine[finite] - theirs[finite]).nan_to_num(0) / scale
            assert error.abs().max() <= 10 * ROUNDINGS * torch.finfo(dtype).eps * slope


@pytest.mark.usefixtures("level")
def test_the_gradient_of_parameters_is_nan_only_where_a_point_is(generator):
    """One NaN spoils coefficients of its own input alone."""
    for even in (True, False):
        args = make_case(generator, inputs=18, even=even)
        args[0][7, 4] = torch.nan
        grad = torch.ones(60, 5, dtype=torch.float64)
        for mine, theirs in zip(results(native.bspline_linear, args, grad), exact(args, grad), strict=True):
            assert mine.isnan().any()
            assert mine[~theirs.isnan()].isfinite().all()


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("degree", DEGREES)
def test_domains_far_away_and_narrow(degree, generator):
    """A domain 1e-6 wide and 1e6 away from zero: between uneven knots nothing is lost, for differences are exact."""
    for even, width, far in ((False, 1e-6, 1e6), (True, 1e-6, 0.0), (True, 1e6, 1e6), (False, 1e12, -1e12)):
        x, coef, knots, *rest = make_case(generator, degree=degree, even=even, base=False, intervals=4)
        x, knots = (t * (width / 2) + far for t in (x, knots))
        assert (knots.diff() > 0).all()
        args = x, coef, knots, *rest
        grad = torch.randn(60, 5, generator=generator, dtype=torch.float64)
        for mine, theirs in zip(results(native.bspline_linear, args, grad), exact(args, grad), strict=True):
            assert (mine - theirs).abs().max() <= 2e-12 * theirs.abs().max()


def test_even_knots_that_are_rounded(generator):
    """Float32 knots from 1000 to 1001: the rounding of a knot is 6e-4 of a step, and splines are those of the rounded knots."""
    knots = (torch.arange(27.0) - 3).unsqueeze(0) / 20 + 1000
    x = 1000 + torch.rand(500, 1, generator=generator)
    coef = torch.randn(1, 23, 1, generator=generator)
    exact = reference.bspline_linear(x.double(), coef.double(), knots.double(), 3, "linear", None)
    assert (native.bspline_linear(x, coef, knots, 3, "linear", None) - exact).abs().max() <= 1e-5


@pytest.mark.usefixtures("level")
def test_exterior_knots_may_coincide(generator):
    """Open knots, which some other libraries use."""
    for degree in DEGREES:
        x, coef, knots, *rest = make_case(generator, degree=degree)
        knots = knots.clamp(knots[:, degree], knots[:, -degree - 1])
        grad = torch.randn(60, 5, generator=generator, dtype=torch.float64)
        args = x, coef, knots, *rest
        for mine, theirs in zip(results(native.bspline_linear, args, grad), exact(args, grad), strict=True):
            assert (mine - theirs).abs().max() <= 1e-12 * theirs.abs().max()


def test_the_environment_chooses_the_instructions():
    code = "import superpose; print(superpose.info().implementations['bspline_linear'])"
    environment = os.environ | {"SUPERPOSE_INSTRUCTIONS": "baseline"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "native (baseline," in done.stdout


def test_instructions_that_do_not_exist(monkeypatch):
    monkeypatch.setenv("SUPERPOSE_INSTRUCTIONS", "AVX3")
    with pytest.raises(ValueError, match="SUPERPOSE_INSTRUCTIONS is 'AVX3'; it must be one of baseline"):
        kernels._wanted_level()


def test_it_runs_when_asked_for(generator):
    args = make_case(generator)
    with superpose.using(bspline_linear="native"):
        assert torch.equal(bspline_linear(*args), native.bspline_linear(*args))
        decisions = superpose.which(bspline_linear, *args)
    assert [decision.implementation for decision in decisions] == ["native"]
