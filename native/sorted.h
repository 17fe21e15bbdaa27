// The samples of one input, sorted by the interval they lie in, with the weights of the coefficients they reach.
//
// Between two knots all samples reach the same rows of coefficients. Sorted, a pass loads these rows into registers once
// and meets every sample of the interval with them.
#pragma once

#include "grid.h"

namespace SUPERPOSE_ISA {

// Samples up to `end` (and from the end of the run before) lie in this interval.
struct Run {
    int32_t interval, end;
};

// Fields of `stride` numbers each: weights of degree + 1 coefficients, the base function, and where slopes are wanted
// weights of the differences of neighbouring coefficients and the slope of the base.
template <typename T, int K> struct Sorted {
    T *field;
    int64_t stride;
    int32_t *sample; // which sample each one is
    const Run *runs;
    int64_t count; // of runs

    static constexpr int FIELDS = 2 * K + 3, BASE = K + 1, SLOPE = K + 2, BASE_SLOPE = 2 * K + 2;
    const T *value(int j) const { return field + j * stride; }
};

// Inputs that are sorted side by side, so that the steps of one need not wait for each other.
constexpr int64_t GROUP = 16, FEW_INPUTS = 4;

// The interval of each point of a row; the last one holds its right end, and the first one NaN.
template <typename T, int K>
INLINE void find_intervals(const Grid<T> *grids, const T *low, const T *rate, int64_t intervals, const T *x, int64_t inputs,
                           bool search, int32_t *out) {
    typedef vec<T> V;
    constexpr int L = lanes<T>;
    const T most = (T)(intervals - 1);
    for (int64_t i = 0; i < inputs; i += L) {
        const int here = inputs - i < L ? (int)(inputs - i) : L;
        V guess = ((here == L ? load<V>(x + i) : load_part(x + i, here)) - load<V>(low + i)) * load<V>(rate + i);
        guess = select<T>(guess > 0, guess, V{});
        guess = select<T>(guess < most, guess, V{} + most);
        T lane[L];
        store(lane, guess);
        for (int l = 0; l < L; l++) out[i + l] = (int32_t)lane[l];
    }
    if (!search) return;
    for (int64_t i = 0; i < inputs; i++) {
        const Grid<T> &grid = grids[i];
        if (grid.rates) { // the last of `number` left ends that is not above the point
            int32_t first = 0, number = (int32_t)intervals;
            while (number > 1) {
                const int32_t half = number / 2;
                first += x[i] >= grid.left[first + half] ? half : 0;
                number -= half;
            }
            out[i] = first;
        } else if (K == 1) { // elsewhere, near a knot, the neighbour's polynomial is the same to rounding, slope and all
            const int32_t s = out[i];
            out[i] = s + (s + 1 < intervals && x[i] >= grid.left[s + 1]) - (s > 0 && x[i] < grid.left[s]);
        }
    }
}

// Counting sort of a group of inputs: for each, the samples and their points in the order of the intervals, and the runs.
// What belongs to the inputs lies `pitch` numbers apart. FULL groups have loops of known length.
template <typename T, int K, bool FULL>
static void sort_group(const Grid<T> *grids, int64_t intervals, const T *x, int64_t stride, int64_t samples, int64_t some,
                       int64_t pitch, int32_t *sample, T *points, Run *runs, int64_t *count) {
    const int64_t inputs = FULL ? GROUP : some;
    T low[GROUP + lanes<T>] = {}, rate[GROUP + lanes<T>] = {};
    bool search = K == 1;
    for (int64_t i = 0; i < inputs; i++) low[i] = grids[i].low, rate[i] = grids[i].rate, search |= grids[i].rates != nullptr;
    int32_t *const next = (int32_t *)scratch(10, GROUP * intervals * (int64_t)sizeof(int32_t));
    int32_t *const interval = (int32_t *)scratch(11, (samples + 1) * GROUP * (int64_t)sizeof(int32_t));
    memset(next, 0, (size_t)(GROUP * intervals) * sizeof(int32_t));
    for (int64_t b = 0; b < samples; b++) {
        int32_t *const here = interval + b * GROUP;
        __builtin_prefetch(x + b * stride + 2 * GROUP - 1); // for the next group
        find_intervals<T, K>(grids, low, rate, intervals, x + b * stride, inputs, search, here);
        for (int64_t i = 0; i < inputs; i++) {
            here[i] += (int32_t)(i * intervals);
            next[here[i]]++;
        }
    }
    for (int64_t i = 0; i < inputs; i++) {
        int32_t begin = 0;
        Run *run = runs + i * (intervals + 1);
        for (int64_t s = 0; s < intervals; s++) {
            const int32_t own = next[i * intervals + s];
            next[i * intervals + s] = begin + (int32_t)(i * pitch);
            begin += own;
            *run = {(int32_t)s, begin};
            run += own > 0;
        }
        count[i] = run - (runs + i * (intervals + 1));
    }
    for (int64_t some = 0; some < inputs; some += FEW_INPUTS) { // so that what is written stays in the first-level cache
        const int64_t end = FULL || some + FEW_INPUTS < inputs ? some + FEW_INPUTS : inputs;
        for (int64_t b = 0; b < samples; b++) {
            const int32_t *const here = interval + b * GROUP;
            for (int64_t i = some; i < end; i++) {
                const int32_t at = next[here[i]]++;
                sample[at] = (int32_t)b;
                points[at] = x[b * stride + i];
            }
        }
    }
}

// Weights of points between the knot `left` and the next: of the coefficients they reach, and of the differences of
// neighbouring coefficients in the slope. Without SLOPES these are left undefined.
template <typename T, int K, bool SLOPES>
INLINE void weights(const Grid<T> &grid, const Piece<T> &piece, vec<T> left, T rate, int64_t extrapolation, vec<T> point,
                    vec<T> *value, vec<T> *slope) {
    typedef vec<T> V;
    const V inside = select<T>(point < grid.low, V{} + grid.low, select<T>(point > grid.high, V{} + grid.high, point));
    const V share = (inside - left) * rate, beyond = point - inside;
    const bool outside = any(beyond != 0); // NaN too
    for (int j = 0; j <= K; j++) {
        value[j] = V{} + piece.value[K][j];
        for (int p = K - 1; p >= 0; p--) value[j] = value[j] * share + piece.value[p][j];
    }
    for (int j = 0; j < K && (SLOPES || outside); j++) {
        slope[j] = V{} + piece.slope[K - 1][j];
        for (int p = K - 2; p >= 0; p--) slope[j] = slope[j] * share + piece.slope[p][j];
        slope[j] *= rate;
    }
    if (!outside) return;
    if (extrapolation == 0) {
        for (int j = 0; j <= K; j++) {
            if (j < K) value[j] -= slope[j] * beyond;
            if (j) value[j] += slope[j - 1] * beyond;
        }
    } else {
        for (int j = 0; j < K; j++) slope[j] = select<T>(beyond != 0, slope[j] * 0, slope[j]);
        if (extrapolation == 2)
            for (int j = 0; j <= K; j++) value[j] = select<T>(beyond != 0, value[j] * 0, value[j]);
    }
}

// Weights of sorted samples with one polynomial, from `begin` on; the last vector may reach beyond `end`. `left` points to
// the left knot of each sample, or with EACH false to that of all.
template <typename T, int K, bool BASE, bool SLOPES, bool EACH>
static void weigh(const Grid<T> &grid, const Piece<T> &piece, const T *left, T rate, int64_t extrapolation, const T *x,
                  int64_t begin, int64_t end, const Sorted<T, K> &out) {
    typedef vec<T> V;
    for (int64_t k = begin; k < end; k += lanes<T>) {
        T *to = out.field + k;
        const V point = load<V>(x + k), knot = EACH ? load<V>(left + k) : V{} + *left;
        V value[K + 1], slope[K];
        weights<T, K, SLOPES>(grid, piece, knot, rate, extrapolation, point, value, slope);
        for (int j = 0; j <= K; j++) store(to + j * out.stride, value[j]);
        if (SLOPES)
            for (int j = 0; j < K; j++) store(to + (out.SLOPE + j) * out.stride, slope[j]);
        if (!BASE) continue;
        V base, base_slope;
        silu<T>(point, base, base_slope);
        store(to + out.BASE * out.stride, base);
        if (SLOPES) store(to + out.BASE_SLOPE * out.stride, base_slope);
    }
}

// Weights of all samples of an input. On even knots one polynomial serves all intervals, so that only the left knots are
// to be laid out; `lefts` has room for a number for each sample and a vector more.
template <typename T, int K, bool BASE, bool SLOPES>
static void weigh_input(const Grid<T> &grid, int64_t extrapolation, const T *x, T *lefts, const Sorted<T, K> &sorted) {
    int64_t begin = 0;
    for (int64_t r = 0; r < sorted.count; r++) {
        const Run run = sorted.runs[r];
        if (grid.rates)
            weigh<T, K, BASE, SLOPES, false>(grid, grid.pieces[run.interval], grid.left + run.interval,
                                             grid.rates[run.interval], extrapolation, x, begin, run.end, sorted);
        else
            for (int64_t k = begin; k < run.end; k += lanes<T>) store(lefts + k, vec<T>{} + grid.left[run.interval]);
        begin = run.end;
    }
    if (!grid.rates)
        weigh<T, K, BASE, SLOPES, true>(grid, *grid.pieces, lefts, grid.rate, extrapolation, x, 0, begin, sorted);
}

// Samples to sort together: several for each interval, at least `least` and at most 1024.
static inline int64_t batch_size(const BsplineCall &call, int64_t least) {
    const int64_t wanted = 8 * call.intervals;
    return wanted < least ? least : wanted > 1024 ? 1024 : wanted;
}

// Inputs to sort at once: what is made of them is to stay in the second-level cache.
template <typename T, int K> static int64_t inputs_at_once(int64_t samples) {
    const int64_t each = (samples + 3 * lanes<T>) * (int64_t)(Sorted<T, K>::FIELDS * sizeof(T) + sizeof(int32_t));
    return GROUP * (1 + (1 << 20) / (GROUP * each));
}

// Some samples of some inputs, each input's after the other, in scratch memory of the calling thread.
template <typename T, int K, bool BASE, bool SLOPES>
static const Sorted<T, K> *sort_inputs(const BsplineCall &call, const Grid<T> *grids, int64_t sample, int64_t samples,
                                       int64_t input, int64_t inputs) {
    constexpr int64_t FIELDS = Sorted<T, K>::FIELDS, L = lanes<T>;
    const int64_t stride = (samples + 2 * L - 1) / L * L + L; // a vector may reach beyond the last sample
    Sorted<T, K> *all = (Sorted<T, K> *)scratch(4, inputs * (int64_t)sizeof(Sorted<T, K>));
    T *field = (T *)scratch(5, inputs * FIELDS * stride * (int64_t)sizeof(T));
    int32_t *sample_of = (int32_t *)scratch(6, inputs * stride * (int64_t)sizeof(int32_t));
    Run *runs = (Run *)scratch(7, (inputs + GROUP) * (call.intervals + 1) * (int64_t)sizeof(Run));
    T *points = (T *)scratch(8, GROUP * stride * (int64_t)sizeof(T)), *lefts = (T *)scratch(15, stride * (int64_t)sizeof(T));
    for (int64_t i = 0; i < inputs; i++)
        all[i] = {field + i * FIELDS * stride, stride, sample_of + i * stride, runs + i * (call.intervals + 1), 0};
    for (int64_t i = 0; i < inputs; i += GROUP) {
        const int64_t here = inputs - i < GROUP ? inputs - i : GROUP;
        const Grid<T> *own = grids + input + i;
        int64_t count[GROUP];
        const auto sort = here == GROUP ? sort_group<T, K, true> : sort_group<T, K, false>;
        sort(own, call.intervals, (const T *)call.x + sample * call.inputs + input + i, call.inputs, samples, here, stride,
             sample_of + i * stride, points, runs + i * (call.intervals + 1), count);
        for (int64_t g = 0; g < here; g++) {
            Sorted<T, K> &sorted = all[i + g];
            sorted.count = count[g];
            weigh_input<T, K, BASE, SLOPES>(own[g], call.extrapolation, points + g * stride, lefts, sorted);
        }
    }
    return all;
}

} // namespace SUPERPOSE_ISA
