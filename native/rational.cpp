// The group-rational function, of one instruction set: this file is compiled once for each.
//
// A pass walks through memory once, vector by vector. Each lane has the coefficients of its own group, so that a vector may
// lie across groups and rows; as groups are blocks of channels, most neighbours share a set of coefficients, which stays in
// registers. Sums for the coefficients have three levels: a run in registers, a strip in each lane, and from there on
// double. What is added in which order depends on the sizes alone, so that any number of threads gives the same bits.
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

// A set of coefficients in registers. M and N are the degrees, or -1 where only the call knows them.
template <typename T, int M, int N, bool SUM_ABS> struct Coefficients {
    vec<T> a[(M < 0 ? MOST : M) + 1], b[(N < 0 ? MOST : N) + 1];
    int64_t m, n;

    INLINE Coefficients from(const RationalCall &call, const vec<T> *set) {
        Coefficients own;
        own.m = M < 0 ? call.m : M, own.n = N < 0 ? call.n : N;
        for (int64_t i = 0; i <= own.m; i++) own.a[i] = set[i];
        own.b[0] = vec<T>{} + (T)SUM_ABS; // so that the polynomial is Q, or what Q has the absolute value of
        for (int64_t j = 1; j <= own.n; j++) own.b[j] = SUM_ABS ? magnitude<T>(set[own.m + j]) : set[own.m + j];
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
    typedef Coefficients<T, M, N, SUM_ABS> Own;
    static constexpr int L = lanes<T>;

    INLINE V value(const Own &own, V x) {
        const V p = polynomial(own.a, own.m, x);
        const V q = polynomial(own.b, own.n, SUM_ABS ? magnitude<T>(x) : x);
        return p / (SUM_ABS ? q : 1 + magnitude<T>(q));
    }

    static void forward(const RationalCall &call, const V *set, const S *x, int64_t count, S *y) {
        const Own own = Own::from(call, set);
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
    static void backward(const RationalCall &call, const V *set, const S *x, const S *grad, int64_t count, S *out,
                         V *sums) {
        const Own own = Own::from(call, set);
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

// Elements up to `end` (and from the end of the piece before) share a set of coefficients.
struct Piece {
    int64_t end, set;
};

// What the threads of a pass share. The groups of the elements repeat after a period of whole rows and whole vectors.
struct Work {
    const RationalCall &call;
    int64_t elements, blocks, each; // numbers to sum up in a group
    int64_t period, sets;
    const Piece *pieces;
    const int64_t *groups; // sets x lanes
    const void *table;     // sets x each vectors
    double *totals;        // blocks x groups x each

    int64_t start(int64_t block) const { return block == blocks ? elements : elements / blocks / 64 * 64 * block; }
};

// Calls `run(set, first, count)` for the runs from element `begin` up to `end`.
template <typename F> INLINE void walk(const Work &work, int64_t begin, int64_t end, F run) {
    int64_t at = begin % work.period;
    const Piece *piece = work.pieces;
    while (piece->end <= at) piece++;
    while (begin < end) {
        int64_t count = piece->end - at;
        if (count > RUN) count = RUN;
        if (count > end - begin) count = end - begin;
        run(piece->set, begin, count);
        begin += count, at += count;
        if (at == work.period) at = 0, piece = work.pieces;
        else if (at == piece->end) piece++;
    }
}

template <typename S, int M, int N, bool SUM_ABS> static void forward_block(void *context, int64_t block) {
    typedef Rational<S, M, N, SUM_ABS> R;
    const Work &work = *(const Work *)context;
    const typename R::V *table = (const typename R::V *)work.table;
    const S *x = (const S *)work.call.x;
    S *y = (S *)work.call.y;
    walk(work, work.start(block), work.start(block + 1), [&](int64_t set, int64_t first, int64_t count) {
        R::forward(work.call, table + set * work.each, x + first, count, y + first);
    });
}

template <typename S, int M, int N, bool SUM_ABS, bool POINT, bool SUMS>
static void backward_block(void *context, int64_t block) {
    typedef Rational<S, M, N, SUM_ABS> R;
    typedef typename R::V V;
    const Work &work = *(const Work *)context;
    const V *table = (const V *)work.table;
    const S *x = (const S *)work.call.x, *grad = (const S *)work.call.grad;
    S *out = (S *)work.call.grad_x;
    const int64_t each = work.each, sets = SUMS ? work.sets : 0, last = work.start(block + 1);
    double *totals = work.totals + block * work.call.groups * each;
    if (SUMS) memset(totals, 0, (size_t)(work.call.groups * each) * sizeof(double));
    V *sums = (V *)scratch(2, sets * each * (int64_t)sizeof(V));
    for (int64_t begin = work.start(block); begin < last; begin += STRIP) {
        memset((void *)sums, 0, (size_t)(sets * each) * sizeof(V));
        walk(work, begin, begin + STRIP < last ? begin + STRIP : last, [&](int64_t set, int64_t first, int64_t count) {
            R::template backward<POINT, SUMS>(work.call, table + set * each, x + first, grad + first, count,
                                              POINT ? out + first : nullptr, sums + set * each);
        });
        for (int64_t set = 0; set < sets; set++)
            for (int64_t i = 0; i < each; i++)
                for (int l = 0; l < R::L; l++)
                    totals[work.groups[set * R::L + l] * each + i] += (double)sums[set * each + i][l];
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
            if (!negative) own[m + 1 + j] = 0 - own[m + 1 + j];
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

// Which group an element belongs to, and where its block of channels ends.
struct Layout {
    int64_t channels, inner, groups;

    int64_t width() const { return channels * inner; }
    int64_t group(int64_t at) const { return at % width() / inner * groups / channels; }
    int64_t end(int64_t at) const {
        return at - at % width() + ((group(at) + 1) * channels + groups - 1) / groups * inner;
    }
};

// The pieces of a period, or of all elements if they are fewer, and for each set where it is met first.
static int64_t cut(const Layout &layout, int64_t length, int64_t L, Piece *pieces, int64_t *first, int64_t *whole) {
    int64_t sets = 0;
    for (int64_t group = 0; group < layout.groups; group++) whole[group] = -1;
    for (int64_t at = 0; at < length; pieces++) {
        const int64_t group = layout.group(at), vectors = (layout.end(at) - at) / L;
        const bool known = vectors && whole[group] >= 0;
        const int64_t set = known ? whole[group] : sets++;
        if (vectors) whole[group] = set;
        if (!known) first[set] = at;
        at += vectors ? vectors * L : L;
        *pieces = {at, set};
    }
    return sets;
}

template <typename T> static Work plan(const RationalCall &call) {
    constexpr int64_t L = lanes<T>;
    const int64_t elements = call.rows * call.channels * call.inner, each = call.m + 1 + call.n;
    int64_t blocks = elements / BLOCK, room = TOTALS / (call.groups * each), rows = 1;
    if (blocks > BLOCKS) blocks = BLOCKS;
    if (blocks > room) blocks = room;
    if (blocks < 1) blocks = 1;
    const bool one = call.groups == 1; // then any period will do
    const Layout layout = {one ? 1 : call.channels, one ? RUN : call.inner, call.groups};
    while (rows * layout.width() % L) rows *= 2;
    const int64_t period = rows * layout.width(), vectors = (elements + L - 1) / L;
    const int64_t length = vectors * L < period ? vectors * L : period;
    // A vector that is not within one block of channels has an end of one in it.
    int64_t most = 2 * rows * (call.groups < layout.channels ? call.groups : layout.channels) + 1;
    if (most > length / L) most = length / L;
    Piece *pieces = (Piece *)scratch(0, most * (int64_t)sizeof(Piece));
    int64_t *first = (int64_t *)scratch(3, (most + call.groups) * (int64_t)sizeof(int64_t));
    const int64_t sets = cut(layout, length, L, pieces, first, first + most);
    int64_t *groups = (int64_t *)scratch(4, sets * L * (int64_t)sizeof(int64_t));
    T *table = (T *)scratch(5, sets * each * (int64_t)sizeof(vec<T>));
    const T *a = (const T *)call.numerator, *b = (const T *)call.denominator;
    for (int64_t set = 0; set < sets; set++)
        for (int64_t l = 0; l < L; l++) {
            const int64_t group = groups[set * L + l] = layout.group(first[set] + l);
            const T *own_a = a + (call.shared_numerator ? 0 : group * (call.m + 1));
            const T *own_b = b + (call.shared_denominator ? 0 : group * call.n);
            for (int64_t i = 0; i < each; i++)
                table[(set * each + i) * L + l] = i <= call.m ? own_a[i] : own_b[i - call.m - 1];
        }
    double *totals = (double *)scratch(1, blocks * call.groups * each * (int64_t)sizeof(double));
    return {call, elements, blocks, each, period, sets, pieces, groups, table, totals};
}

template <typename S, int M, int N, bool SUM_ABS> static void start(const RationalCall &call) {
    Work work = plan<wide<S>>(call);
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
