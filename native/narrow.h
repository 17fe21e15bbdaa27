// Layers of few outputs on even grids, in float: many samples side by side instead of many outputs.
//
// The coefficients of an edge fit into two registers, so a permutation looks up those that each of sixteen samples
// reaches; nothing needs to be sorted. For the gradient of the coefficients the few splines are written out in full.
// Other instruction sets have no such permutation, and take the general way.
#pragma once

#include "strips.h"

#if defined(__AVX512F__)

namespace SUPERPOSE_ISA {

constexpr int64_t TABLE = 32;      // numbers in two registers
constexpr int64_t MOST_EDGE = 256; // coefficients of the edges from one input, at most
constexpr int64_t MOST = 1 << 17;  // coefficients in all, so that what is gathered for each stays below 8 MB

struct Table {
    vec<float> low, high;
};

INLINE Table load_table(const float *from) { return {load<vec<float>>(from), load<vec<float>>(from + 16)}; }

INLINE vec<float> look_up(const Table &table, ivec<float> index) {
    return (vec<float>)_mm512_permutex2var_ps((__m512)table.low, (__m512i)index, (__m512)table.high);
}

static inline bool is_narrow(const BsplineCall &call, const Grid<float> *grids) {
    if (call.samples < 64) return false;
    const int64_t rows = call.intervals + call.degree;
    if (rows > TABLE || rows * call.outputs > MOST_EDGE || call.inputs * rows * call.outputs > MOST) return false;
    for (int64_t i = 0; i < (call.shared_knots ? 1 : call.inputs); i++)
        if (grids[i].rates) return false;
    return true;
}

// Sixteen points of one input: their interval, and the weights as in `Sorted`.
template <int K> struct Points {
    ivec<float> interval;
    vec<float> value[K + 1], slope[K], base, base_slope;
};

template <int K, bool BASE, bool SLOPES>
INLINE Points<K> points_at(const BsplineCall &call, const Grid<float> &grid, const Table &left, vec<float> x) {
    typedef vec<float> V;
    typedef ivec<float> I;
    Points<K> at;
    const float most = (float)(call.intervals - 1);
    V guess = (x - grid.low) * grid.rate;
    guess = select<float>(guess > 0, guess, V{});
    guess = select<float>(guess < most, guess, V{} + most);
    I s = __builtin_convertvector(guess, I);
    if (K == 1) { // the slopes jump at the knots, so compare with the knots themselves; a true comparison is -1
        s -= (x >= look_up(left, s + 1)) & (s < (int)(call.intervals - 1));
        s += (x < look_up(left, s)) & (s > 0);
    }
    at.interval = s;
    weights<float, K, SLOPES>(grid, grid.pieces[0], look_up(left, s), grid.rate, call.extrapolation, x, at.value, at.slope);
    if (BASE) silu<float>(x, at.base, at.base_slope);
    return at;
}

// What a thread works with: the points and gradients of a batch with the samples along the rows.
constexpr int64_t NARROW_BATCH = 1024;

// `from` points to the first of some columns of the first sample; what fills up the last vector is zero.
static float *turned(int slot, const float *from, int64_t row, int64_t samples, int64_t columns) {
    const int64_t stride = NARROW_BATCH + 16;
    float *to = (float *)scratch(slot, columns * stride * (int64_t)sizeof(float));
    const int64_t whole = (samples + 15) / 16 * 16;
    transpose(from, row, samples, columns, to, stride);
    for (int64_t c = 0; c < columns; c++)
        for (int64_t b = samples; b < whole; b++) to[c * stride + b] = 0;
    return to;
}

template <int K, bool BASE> struct Narrow {
    const BsplineCall *call;
    const Grid<float> *grids;
    const float *tables; // of every input and output: TABLE coefficients, then the base weight
    static constexpr int64_t STRIDE = NARROW_BATCH + 16, EDGE = TABLE + 16;

    static const float *make_tables(const BsplineCall &call, bool steps) {
        const int64_t rows = call.intervals + K;
        float *tables = (float *)scratch(13, call.inputs * call.outputs * EDGE * (int64_t)sizeof(float)), *to = tables;
        const float *coef = (const float *)call.coef, *weight = (const float *)call.weight;
        for (int64_t i = 0; i < call.inputs; i++)
            for (int64_t o = 0; o < call.outputs; o++, to += EDGE) {
                const float *from = coef + i * rows * call.outputs + o;
                for (int64_t m = 0; m < TABLE; m++) {
                    const bool is = m + steps < rows;
                    to[m] = is ? from[(m + steps) * call.outputs] - (steps ? from[m * call.outputs] : 0) : 0;
                }
                to[TABLE] = BASE ? weight[o * call.inputs + i] : 0;
            }
        return tables;
    }

    Table knots(int64_t input) const {
        float left[TABLE] = {};
        for (int64_t s = 0; s < call->intervals; s++) left[s] = grids[input].left[s];
        return load_table(left);
    }

    void forward(int64_t begin, int64_t end) const {
        const int64_t inputs = call->inputs, outputs = call->outputs;
        for (int64_t sample = begin; sample < end; sample += NARROW_BATCH) {
            const int64_t samples = end - sample < NARROW_BATCH ? end - sample : NARROW_BATCH;
            const float *x = turned(4, (const float *)call->x + sample * inputs, inputs, samples, inputs);
            float *y = (float *)scratch(5, outputs * STRIDE * (int64_t)sizeof(float));
            for (int64_t i = 0; i < inputs; i++) {
                const Table left = knots(i);
                for (int64_t b = 0; b < samples; b += 16) {
                    const auto at = points_at<K, BASE, false>(*call, grids[i], left, load<vec<float>>(x + i * STRIDE + b));
                    const float *edge = tables + i * outputs * EDGE;
                    for (int64_t o = 0; o < outputs; o++, edge += EDGE) {
                        const Table coef = load_table(edge);
                        float *to = y + o * STRIDE + b;
                        vec<float> sum = i ? load<vec<float>>(to) : vec<float>{};
                        for (int j = 0; j <= K; j++) sum += at.value[j] * look_up(coef, at.interval + j);
                        if (BASE) sum += edge[TABLE] * at.base;
                        store(to, sum);
                    }
                }
            }
            transpose(y, STRIDE, outputs, samples, (float *)call->y + sample * outputs, outputs);
        }
    }

    // Gradients of the coefficients of one input from `count` functions and `outputs` columns, added to vectors of sums.
    template <int M, int N>
    static void products(const float *functions, const float *grad, int64_t samples, int64_t output_stride, float *sums) {
        vec<float> sum[M][N];
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) sum[m][n] = load<vec<float>>(sums + (m * output_stride + n) * 16);
        for (int64_t b = 0; b < samples; b += 16) {
            vec<float> g[N];
            for (int n = 0; n < N; n++) g[n] = load<vec<float>>(grad + n * STRIDE + b);
            for (int m = 0; m < M; m++) {
                const vec<float> f = load<vec<float>>(functions + m * STRIDE + b);
                for (int n = 0; n < N; n++) sum[m][n] += f * g[n];
            }
        }
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) store(sums + (m * output_stride + n) * 16, sum[m][n]);
    }

    template <int N>
    static void products_of(const float *functions, int64_t count, const float *grad, int64_t samples, int64_t outputs,
                            float *sums) {
        int64_t m = 0;
        for (; m + 4 <= count; m += 4) products<4, N>(functions + m * STRIDE, grad, samples, outputs, sums + m * outputs * 16);
        for (; m < count; m++) products<1, N>(functions + m * STRIDE, grad, samples, outputs, sums + m * outputs * 16);
    }

    void backward(int64_t begin, int64_t end) const {
        const int64_t inputs = call->inputs, outputs = call->outputs, rows = call->intervals + K, count = rows + BASE;
        if (begin == end) return;
        float *sums = (float *)scratch(6, (end - begin) * count * outputs * 64);
        memset(sums, 0, (size_t)((end - begin) * count * outputs * 64));
        float *functions = (float *)scratch(7, (TABLE + 1) * STRIDE * (int64_t)sizeof(float));
        float *slopes = (float *)scratch(9, (end - begin) * STRIDE * (int64_t)sizeof(float));
        for (int64_t sample = 0; sample < call->samples; sample += NARROW_BATCH) {
            const int64_t samples = call->samples - sample < NARROW_BATCH ? call->samples - sample : NARROW_BATCH;
            const float *x = turned(4, (const float *)call->x + sample * inputs + begin, inputs, samples, end - begin);
            const float *grad = turned(5, (const float *)call->grad + sample * outputs, outputs, samples, outputs);
            for (int64_t i = begin; i < end; i++) {
                const Table left = knots(i);
                for (int64_t b = 0; b < samples; b += 16) {
                    const auto at = points_at<K, BASE, true>(*call, grids[i], left, load<vec<float>>(x + (i - begin) * STRIDE + b));
                    if (call->grad_coef) {
                        for (int64_t m = 0; m < rows; m++) {
                            vec<float> all = {};
                            for (int j = 0; j <= K; j++) all = select<float>(at.interval == (int)(m - j), at.value[j], all);
                            store(functions + m * STRIDE + b, all);
                        }
                        if (BASE) store(functions + rows * STRIDE + b, at.base);
                    }
                    if (call->grad_x) {
                        vec<float> total = {};
                        const float *edge = tables + i * outputs * EDGE;
                        for (int64_t o = 0; o < outputs; o++, edge += EDGE) {
                            const Table step = load_table(edge);
                            vec<float> slope = at.slope[0] * look_up(step, at.interval);
                            for (int j = 1; j < K; j++) slope += at.slope[j] * look_up(step, at.interval + j);
                            if (BASE) slope += edge[TABLE] * at.base_slope;
                            total += slope * load<vec<float>>(grad + o * STRIDE + b);
                        }
                        store(slopes + (i - begin) * STRIDE + b, total);
                    }
                }
                if (!call->grad_coef) continue;
                float *own = sums + (i - begin) * count * outputs * 16;
                int64_t o = 0;
                for (; o + 4 <= outputs; o += 4) products_of<4>(functions, count, grad + o * STRIDE, samples, outputs, own + o * 16);
                for (; o < outputs; o++) products_of<1>(functions, count, grad + o * STRIDE, samples, outputs, own + o * 16);
            }
            if (call->grad_x)
                for (int64_t b = 0; b < samples; b++)
                    for (int64_t i = begin; i < end; i++)
                        ((float *)call->grad_x)[(sample + b) * inputs + i] = slopes[(i - begin) * STRIDE + b];
        }
        if (!call->grad_coef) return;
        for (int64_t i = begin; i < end; i++)
            for (int64_t m = 0; m < count; m++)
                for (int64_t o = 0; o < outputs; o++) {
                    const float total = sum(load<vec<float>>(sums + (((i - begin) * count + m) * outputs + o) * 16));
                    if (m < rows) ((float *)call->grad_coef)[(i * rows + m) * outputs + o] = total;
                    else ((float *)call->grad_weight)[o * inputs + i] = total;
                }
    }

    static void forward_part(void *context, int64_t index) {
        const Narrow &self = *(const Narrow *)context;
        const int64_t all = self.call->samples, parts = self.call->threads;
        self.forward(all * index / parts, all * (index + 1) / parts);
    }

    static void backward_part(void *context, int64_t index) {
        const Narrow &self = *(const Narrow *)context;
        const int64_t all = self.call->inputs, parts = self.call->threads;
        self.backward(all * index / parts, all * (index + 1) / parts);
    }

    static void start(const BsplineCall &call, const Grid<float> *grids) {
        Narrow self = {&call, grids, nullptr};
        if (!call.grad || call.grad_x) self.tables = make_tables(call, call.grad != nullptr);
        run_parts(call.grad ? backward_part : forward_part, &self, call.threads, call.threads);
    }
};

} // namespace SUPERPOSE_ISA

#endif
