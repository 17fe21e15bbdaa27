// The group-rational function, of one instruction set: this file is compiled once for each.
//
// A group is a block of neighbouring channels, so that in memory its elements lie side by side in every row. A pass walks
// through memory once, in runs of elements of one group, whose coefficients stay in registers. Sums for the coefficients
// have three levels: a run in registers, a strip in each lane, and from there on double. What is added in which order
// depends on the sizes alone, so that any number of threads gives the same bits.
#include "rational.h"
#include "half.h"

namespace SUPERPOSE_ISA {
namespace {

constexpr int MOST = 32;            // degree
constexpr int64_t RUN = 1024;       // elements, at most
constexpr int64_t STRIP = 1 << 16;  // elements
constexpr int64_t BLOCK = 1 << 15;  // elements that a thread takes at a time, at least
constexpr int64_t BLOCKS = 256;     // at most
constexpr int64_t TOTALS = 1 << 21; // numbers to keep for all blocks, at most

template <typename T> INLINE vec<T> magnitude(vec<T> x) { return select<T>(x < 0, -x, x); }

// The coefficients of a group in all lanes. M and N are the degrees, or -1 where only the call knows them.
template <typename T, int M, int N> struct Coefficients {
    vec<T> a[(M < 0 ? MOST : M) + 1], b[(N < 0 ? MOST : N) + 1];
    int64_t m, n;

    // Those of the denominator are absolute and begin with 1 where absolute terms are summed up; else they begin with 0.
    template <bool SUM_ABS> INLINE Coefficients make(const RationalCall &call, int64_t group) {
        Coefficients own;
        own.m = M < 0 ? call.m : M, own.n = N < 0 ? call.n : N;
        const T *a = (const T *)call.numerator + (call.shared_numerator ? 0 : group * (own.m + 1));
        const T *b = (const T *)call.denominator + (call.shared_denominator ? 0 : group * own.n);
        for (int64_t i = 0; i <= own.m; i++) own.a[i] = vec<T>{} + a[i];
        own.b[0] = vec<T>{} + (T)SUM_ABS;
        for (int64_t j = 1; j <= own.n; j++) own.b[j] = vec<T>{} + (SUM_ABS && b[j - 1] < 0 ? -b[j - 1] : b[j - 1]);
        return own;
    }
};

// A polynomial and its slope by Horner's scheme.
template <typename V> INLINE V polynomial(const V *coef, int64_t degree, V x) {
    V value = coef[degree];
    for (int64_t i = degree - 1; i >= 0; i--) value = value * x + coef[i];
    return value;
}
template <typename V> INLINE V polynomial(const V *coef, int64_t degree, V x, V &slope) {
    V value = coef[degree];
    slope = V{};
    for (int64_t i = degree - 1; i >= 0; i--) {
        slope = i == degree - 1 ? value : slope * x + value;
        value = value * x + coef[i];
    }
    return value;
}

template <typename S, int M, int N, bool SUM_ABS> struct Rational {
    typedef wide<S> T;
    typedef vec<T> V;
    typedef Coefficients<T, M, N> Own;
    static constexpr int L = lanes<T>;

    INLINE V value(const Own &own, V x) {
        const V p = polynomial(own.a, own.m, x);
        const V q = polynomial(own.b, own.n, SUM_ABS ? magnitude<T>(x) : x);
        return p / (SUM_ABS ? q : 1 + magnitude<T>(q));
    }

    static void forward(const RationalCall &call, int64_t group, const S *x, int64_t count, S *y) {
        const Own own = Own::template make<SUM_ABS>(call, group);
        int64_t k = 0;
        for (; k + L <= count; k += L) write(y + k, value(own, read(x + k)));
        if (k < count) write_part(y + k, value(own, read_part(x + k, (int)(count - k))), (int)(count - k));
    }

    // Gradient of x where POINT, and what is added to the sums: u x^i and t |x|^j, or of the other form sign(q) t x^j,
    // with u = grad / Q and t = u F. Powers are made from u and t, so that they overflow only where the result does.
    template <bool POINT, bool SUMS> INLINE V slope(const Own &own, V x, V grad, V *sums) {
        V p_slope, q_slope;
        const V base = SUM_ABS ? magnitude<T>(x) : x;
        const V p = POINT ? polynomial(own.a, own.m, x, p_slope) : polynomial(own.a, own.m, x);
        const V raw = POINT ? polynomial(own.b, own.n, base, q_slope) : polynomial(own.b, own.n, base);
        const V side = SUM_ABS ? x : raw, share = 1 / (SUM_ABS ? raw : 1 + magnitude<T>(raw));
        const V u = grad * share, t = u * (p * share);
        if (SUMS) {
            V power = u;
            sums[0] += power;
            for (int64_t i = 1; i <= own.m; i++) sums[i] += power *= x;
            power = SUM_ABS ? t : select<T>(side < 0, -t, t);
            for (int64_t j = 1; j <= own.n; j++) sums[own.m + j] += power *= base;
        }
        return POINT ? u * p_slope - t * select<T>(side < 0, -q_slope, q_slope) : V{};
    }

    template <bool POINT, bool SUMS>
    static void backward(const RationalCall &call, int64_t group, const S *x, const S *grad, int64_t count, S *out, V *sums) {
        const Own own = Own::template make<SUM_ABS>(call, group);
        V part[M < 0 || N < 0 ? 2 * MOST + 1 : M + N + 1];
        for (int64_t i = 0; SUMS && i <= own.m + own.n; i++) part[i] = V{};
        int64_t k = 0;
        for (; k + L <= count; k += L) {
            const V d = slope<POINT, SUMS>(own, read(x + k), read(grad + k), part);
            if (POINT) write(out + k, d);
        }
        if (k < count) {
            const int rest = (int)(count - k);
            const V d = slope<POINT, SUMS>(own, read_part(x + k, rest), read_part(grad + k, rest), part);
            if (POINT) write_part(out + k, d, rest);
        }
        for (int64_t i = 0; SUMS && i <= own.m + own.n; i++) sums[i] += part[i];
    }
};

// What the threads of a pass share.
struct Work {
    const RationalCall &call;
    int64_t elements, blocks, each; // numbers to sum up in a group
    const int64_t *ends;            // of the groups within a row, in elements
    double *totals;                 // blocks x groups x each

    int64_t start(int64_t block) const { return block == blocks ? elements : elements / blocks / 64 * 64 * block; }
};

// Calls `run(group, first, count)` for the runs from element `begin` up to `end`.
template <typename F> INLINE void walk(const Work &work, int64_t begin, int64_t end, F run) {
    const RationalCall &call = work.call;
    int64_t at = begin % (call.channels * call.inner), group = at / call.inner * call.groups / call.channels;
    while (begin < end) {
        int64_t count = work.ends[group] - at;
        if (count > RUN) count = RUN;
        if (count > end - begin) count = end - begin;
        run(group, begin, count);
        begin += count, at += count;
        if (at == call.channels * call.inner) at = group = 0;
        while (at >= work.ends[group]) group++; // some have no channels
    }
}

template <typename S, int M, int N, bool SUM_ABS> static void forward_block(void *context, int64_t block) {
    const Work &work = *(const Work *)context;
    const S *x = (const S *)work.call.x;
    S *y = (S *)work.call.y;
    walk(work, work.start(block), work.start(block + 1), [&](int64_t group, int64_t first, int64_t count) {
        Rational<S, M, N, SUM_ABS>::forward(work.call, group, x + first, count, y + first);
    });
}

template <typename S, int M, int N, bool SUM_ABS, bool POINT, bool SUMS>
static void backward_block(void *context, int64_t block) {
    typedef Rational<S, M, N, SUM_ABS> R;
    typedef typename R::V V;
    const Work &work = *(const Work *)context;
    const S *x = (const S *)work.call.x, *grad = (const S *)work.call.grad;
    S *out = (S *)work.call.grad_x;
    const int64_t count = SUMS ? work.call.groups * work.each : 0, last = work.start(block + 1);
    double *totals = work.totals + block * count;
    V *sums = (V *)scratch(2, count * (int64_t)sizeof(V));
    memset(totals, 0, (size_t)count * sizeof(double));
    for (int64_t begin = work.start(block); begin < last; begin += STRIP) {
        memset((void *)sums, 0, (size_t)count * sizeof(V));
        walk(work, begin, begin + STRIP < last ? begin + STRIP : last, [&](int64_t group, int64_t first, int64_t size) {
            R::template backward<POINT, SUMS>(work.call, group, x + first, grad + first, size, POINT ? out + first : nullptr,
                                              sums + group * work.each);
        });
        for (int64_t i = 0; i < count; i++)
            for (int l = 0; l < R::L; l++) totals[i] += (double)sums[i][l];
    }
}

// The sums of all blocks, in their order, as gradients.
template <typename T> static void write_gradients(const Work &work) {
    const RationalCall &call = work.call;
    const int64_t m = call.m, n = call.n, each = work.each, size = call.groups * each;
    double *totals = work.totals;
    for (int64_t block = 1; block < work.blocks; block++)
        for (int64_t i = 0; i < size; i++) totals[i] += totals[block * size + i];
    T *a = (T *)call.grad_numerator, *b = (T *)call.grad_denominator;
    const T *sign = (const T *)call.denominator;
    for (int64_t group = 0; group < call.groups; group++) {
        double *own = totals + group * each;
        for (int64_t j = 0; j < n; j++) {
            const bool negative = call.form == 0 && sign[(call.shared_denominator ? 0 : group * n) + j] < 0;
            if (!negative) own[m + 1 + j] = -own[m + 1 + j];
        }
        for (int64_t i = 0; i < each; i++) {
            const bool shared = i <= m ? call.shared_numerator : call.shared_denominator;
            if (shared && group) totals[i] += own[i];
            if (!shared) *(i <= m ? a + group * (m + 1) + i : b + group * n + i - m - 1) = (T)own[i];
        }
    }
    for (int64_t i = 0; i < each; i++)
        if (i <= m ? call.shared_numerator : call.shared_denominator) *(i <= m ? a + i : b + i - m - 1) = (T)totals[i];
}

static Work plan(const RationalCall &call) {
    const int64_t elements = call.rows * call.channels * call.inner, each = call.m + 1 + call.n;
    int64_t blocks = elements / BLOCK, room = TOTALS / (call.groups * each);
    if (blocks > BLOCKS) blocks = BLOCKS;
    if (blocks > room) blocks = room;
    if (blocks < 1) blocks = 1;
    int64_t *ends = (int64_t *)scratch(0, call.groups * (int64_t)sizeof(int64_t));
    for (int64_t group = 0; group < call.groups; group++)
        ends[group] = ((group + 1) * call.channels + call.groups - 1) / call.groups * call.inner;
    double *totals = (double *)scratch(1, blocks * call.groups * each * (int64_t)sizeof(double));
    return {call, elements, blocks, each, ends, totals};
}

template <typename S, int M, int N, bool SUM_ABS> static void start(const RationalCall &call) {
    Work work = plan(call);
    Job job = forward_block<S, M, N, SUM_ABS>;
    if (call.grad && !call.grad_numerator) job = backward_block<S, M, N, SUM_ABS, true, false>;
    else if (call.grad && call.grad_x) job = backward_block<S, M, N, SUM_ABS, true, true>;
    else if (call.grad) job = backward_block<S, M, N, SUM_ABS, false, true>;
    run_parts(job, &work, work.blocks, call.threads);
    if (call.grad && call.grad_numerator) write_gradients<wide<S>>(work);
}

template <typename S, int M, int N> static void start(const RationalCall &call) {
    if (call.form == 0) start<S, M, N, true>(call);
    else start<S, M, N, false>(call);
}

template <typename S> static void start(const RationalCall &call) {
    if (call.m == 5 && call.n == 4) start<S, 5, 4>(call);
    else start<S, -1, -1>(call);
}

} // namespace

void rational(const RationalCall &call) {
    if (call.type == 0) start<float>(call);
    else if (call.type == 1) start<double>(call);
    else if (call.type == 2) start<bfloat16>(call);
    else start<float16>(call);
}

} // namespace SUPERPOSE_ISA
