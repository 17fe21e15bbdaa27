"""Triton kernels of the group-rational function; importing this module imports Triton, and `gpu` does so when it must.

The tensor is one run of memory, cut into vectors of V numbers that lie in one group. Threads walk over it with a step that
is a multiple of `period`, the vectors after which the groups begin anew, so that a thread meets one group only: its
coefficients, and the sums of its derivatives, stay in registers. Every thread writes its sums once, and a second kernel
adds them in a fixed order. Nothing is atomic, so that equal inputs give equal bits.

Numerator and denominator are both computed as a quarter of themselves, which is exact: the reciprocal of the hardware is
zero where its argument is above a quarter of the largest number.
"""

import triton
import triton.language as tl

RUNTIME = [
    "vectors", "period", "inner", "channels", "numerators", "denominators", "threads", "counted", "groups", "parts",
]  # fmt: skip
"""Numbers that no kernel is compiled anew for."""


@triton.jit
def _store(pointer, value, here):
    """Store in the type of the pointer; 16 bits are reached through float32, as PyTorch does."""
    narrow: tl.constexpr = pointer.dtype.element_ty
    if narrow != tl.float64:
        value = value.to(tl.float32)
    tl.store(pointer, value.to(narrow), mask=here)


@triton.jit
def _coefficients(row_pointer, COUNT: tl.constexpr, WIDE: tl.constexpr):
    """A quarter of each coefficient of a row, for each thread."""
    coef = ()
    for i in tl.static_range(COUNT):
        coef = coef + (tl.load(row_pointer + i).to(WIDE)[:, None] * 0.25,)  # noqa: RUF005 - Triton knows no unpacking
    return coef


@triton.jit
def _group_coefficients(
    first, a_pointer, b_pointer, period, inner, channels, numerators, denominators,
    M: tl.constexpr, N: tl.constexpr, SUM_ABS: tl.constexpr, V: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The coefficients of the group that each thread stays in; those of `sum_abs` without their signs."""
    channel = (first % period).to(tl.int64) * V // inner
    a = _coefficients(a_pointer + channel * numerators // channels * (M + 1), M + 1, WIDE)
    signed = _coefficients(b_pointer + channel * denominators // channels * N, N, WIDE)
    b = ()
    for j in tl.static_range(N):
        b = b + (tl.abs(signed[j]) if SUM_ABS else signed[j],)  # noqa: RUF005
    return a, b


@triton.jit
def _horner(x, coef, COUNT: tl.constexpr):
    """The polynomial whose coefficients rise from the constant."""
    value = coef[COUNT - 1]
    for i in tl.static_range(1, COUNT):
        value = value * x + coef[COUNT - 1 - i]
    return value


@triton.jit
def _slope(x, coef, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """The derivative of the polynomial of these terms, of which the first has the power FIRST."""
    scaled = ()
    for i in tl.static_range(1 - FIRST, COUNT):
        scaled = scaled + (coef[i] * (i + FIRST),)  # noqa: RUF005
    return _horner(x, scaled, COUNT - 1 + FIRST)


@triton.jit
def _reciprocal(q, FAST: tl.constexpr):
    if FAST:  # one instruction; correct to the last bit but one
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [q], dtype=tl.float32, is_pure=True, pack=1
        )
    return 1.0 / q


@triton.jit
def _quotient(x, a, b, M: tl.constexpr, N: tl.constexpr, SUM_ABS: tl.constexpr, FAST: tl.constexpr):
    """F(x), 4 / Q(x), and where the slope of the absolute value is -1."""
    p = _horner(x, a, M + 1)
    flip = x < 0
    if N == 0:
        r = x * 0 + 4.0
    elif SUM_ABS:
        size = tl.abs(x)
        r = _reciprocal(0.25 + size * _horner(size, b, N), FAST)
    else:
        inside = x * _horner(x, b, N)
        flip = inside < 0
        r = _reciprocal(0.25 + tl.abs(inside), FAST)
    return p * r, r, flip


@triton.jit(do_not_specialize=RUNTIME)
def forward_kernel(
    x_pointer, y_pointer, a_pointer, b_pointer, vectors, period, inner, channels, numerators, denominators,
    M: tl.constexpr, N: tl.constexpr, SUM_ABS: tl.constexpr, V: tl.constexpr, THREADS: tl.constexpr,
    WIDE: tl.constexpr, FAST: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """Values."""
    first = tl.program_id(0).to(INDEX) * THREADS + tl.arange(0, THREADS)
    lanes = tl.arange(0, V)[None, :]
    a, b = _group_coefficients(
        first, a_pointer, b_pointer, period, inner, channels, numerators, denominators, M, N, SUM_ABS, V, WIDE
    )
    for start in range(0, vectors.to(INDEX), tl.num_programs(0).to(INDEX) * THREADS):
        vector = (start + first)[:, None]
        here = vector < vectors
        place = vector.to(tl.int64) * V + lanes
        x = tl.load(x_pointer + place, mask=here, other=0.0).to(WIDE)
        y, _, _ = _quotient(x, a, b, M, N, SUM_ABS, FAST)
        _store(y_pointer + place, y, here)


@triton.jit
def _columns(x, THREADS: tl.constexpr, V: tl.constexpr):
    """The numbers of every thread's vector, one by one: registers get other names, nothing moves."""
    columns = (tl.reshape(x, [THREADS]),) if V == 1 else ()
    if V > 1:
        even, odd = tl.split(tl.reshape(x, [THREADS, V // 2, 2]))
        columns = _columns(even, THREADS, V // 2) + _columns(odd, THREADS, V // 2)
    return columns


@triton.jit
def _add_moments(sums, x, u, t, M: tl.constexpr, N: tl.constexpr, ABS: tl.constexpr,
                 NEED_A: tl.constexpr, NEED_B: tl.constexpr):  # fmt: skip
    """Add the products with the powers of x: of u for the numerator, of t for the denominator."""
    added = ()
    power = x
    if NEED_A:
        added = added + (sums[0] + u,)  # noqa: RUF005
        for i in tl.static_range(1, M + 1):
            added = added + (sums[i] + u * power,)  # noqa: RUF005
            power = power * x
    power = x
    if NEED_B:
        for j in tl.static_range(N):
            added = added + (sums[(M + 1 if NEED_A else 0) + j] + t * (tl.abs(power) if ABS else power),)  # noqa: RUF005
            power = power * x
    return added


@triton.jit
def _pair(x_pointer, grad_pointer, vector, vectors, V: tl.constexpr):
    """Points and gradients as they are stored; zero behind the last."""
    here = vector[:, None] < vectors
    place = vector[:, None].to(tl.int64) * V + tl.arange(0, V)[None, :]
    return tl.load(x_pointer + place, mask=here, other=0.0), tl.load(grad_pointer + place, mask=here, other=0.0)


@triton.jit(do_not_specialize=RUNTIME)
def backward_kernel(
    grad_pointer, x_pointer, y_pointer, dx_pointer, sums_pointer, a_pointer, b_pointer,
    vectors, period, inner, channels, numerators, denominators,
    M: tl.constexpr, N: tl.constexpr, SUM_ABS: tl.constexpr, V: tl.constexpr, THREADS: tl.constexpr,
    WIDE: tl.constexpr, FAST: tl.constexpr, INDEX: tl.constexpr,
    NEED_Y: tl.constexpr, NEED_X: tl.constexpr, NEED_A: tl.constexpr, NEED_B: tl.constexpr,
):  # fmt: skip
    """The gradient of x, F(x) again, and each thread's part of the sums: what is needed of these.

    With u = grad / Q and t = u F: dx = u P' - t Q', the derivative by a_i is the sum of u x^i, and that by b_j minus that of
    t times the derivative of Q by b_j.
    """
    first = tl.program_id(0).to(INDEX) * THREADS + tl.arange(0, THREADS)
    lanes = tl.arange(0, V)[None, :]
    a, b = _group_coefficients(
        first, a_pointer, b_pointer, period, inner, channels, numerators, denominators, M, N, SUM_ABS, V, WIDE
    )
    COUNT: tl.constexpr = (M + 1 if NEED_A else 0) + (N if NEED_B else 0)
    sums = ()
    for _ in tl.static_range(COUNT):
        sums = sums + (tl.zeros([THREADS], WIDE),)  # noqa: RUF005
    step = tl.num_programs(0).to(INDEX) * THREADS
    # The next numbers are on their way while these are worked on.
    next_x, next_grad = _pair(x_pointer, grad_pointer, first, vectors, V)
    for start in range(0, vectors.to(INDEX), step):
        vector = start + first
        here = vector[:, None] < vectors
        place = vector[:, None].to(tl.int64) * V + lanes
        x, grad = next_x.to(WIDE), next_grad.to(WIDE)
        next_x, next_grad = _pair(x_pointer, grad_pointer, vector + step, vectors, V)
        y, r, flip = _quotient(x, a, b, M, N, SUM_ABS, FAST)
        u = grad * r
        t = u * y
        ts = tl.where(flip, -t, t)
        if NEED_Y:
            _store(y_pointer + place, y, here)
        if NEED_X:
            dx = u * _slope(x, a, 0, M + 1) if M > 0 else x * 0
            if N > 0:
                dx -= ts * _slope(tl.abs(x) if SUM_ABS else x, b, 1, N)
            _store(dx_pointer + place, dx, here)
        if COUNT > 0:
            xs = _columns(x, THREADS, V)
            us = _columns(u, THREADS, V)
            tss = _columns(t if SUM_ABS else ts, THREADS, V)
            for k in tl.static_range(V):
                sums = _add_moments(sums, xs[k], us[k], tss[k], M, N, SUM_ABS, NEED_A, NEED_B)
    threads = tl.num_programs(0).to(tl.int64) * THREADS
    for k in tl.static_range(COUNT):
        tl.store(sums_pointer + k * threads + first, sums[k])


@triton.jit(do_not_specialize=RUNTIME)
def part_kernel(
    sums_pointer, parts_pointer, threads, period, inner, channels, groups,
    V: tl.constexpr, PERIODS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One sum of one group over the threads of some periods."""
    group, k, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    # Channel c has group c * groups // channels.
    low = (group.to(tl.int64) * channels + groups - 1) // groups * inner // V
    high = ((group + 1).to(tl.int64) * channels + groups - 1) // groups * inner // V
    rows = (part.to(tl.int64) * PERIODS + tl.arange(0, PERIODS))[:, None] * period
    sums_pointer += k.to(tl.int64) * threads
    total = tl.zeros([PERIODS, BLOCK], WIDE)
    for start in range(low, high, BLOCK):
        vectors = (start + tl.arange(0, BLOCK))[None, :]
        here = (vectors < high) & (rows + vectors < threads)
        total += tl.load(sums_pointer + rows + vectors, mask=here, other=0.0)
    place = (k.to(tl.int64) * groups + group) * tl.num_programs(2) + part
    tl.store(parts_pointer + place, tl.sum(total))


@triton.jit(do_not_specialize=RUNTIME)
def sum_kernel(
    parts_pointer, b_pointer, da_pointer, db_pointer, parts, groups, numerators, denominators, counted,
    N: tl.constexpr, SUM_ABS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One derivative, of the parts of its group, or of all groups where these share a row.

    The first `counted` sums are those of the numerator's coefficients, the others those of the denominator's.
    """
    row, k = tl.program_id(0), tl.program_id(1)
    rows = tl.where(k < counted, numerators, denominators)
    if row < rows:
        count = (groups // rows).to(tl.int64) * parts
        parts_pointer += k.to(tl.int64) * groups * parts + row * count
        total = tl.zeros([BLOCK], WIDE)
        for start in range(0, count, BLOCK):
            part = start + tl.arange(0, BLOCK)
            total += tl.load(parts_pointer + part, mask=part < count, other=0.0)
        value = 0.25 * tl.sum(total)
        if k < counted:
            _store(da_pointer + row * counted + k, value, here=True)
        else:
            place = row * N + k - counted
            if SUM_ABS:
                value = tl.where(tl.load(b_pointer + place).to(WIDE) < 0, -value, value)
            _store(db_pointer + place, -value, here=True)
