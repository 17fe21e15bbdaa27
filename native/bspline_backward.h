// Backward pass: what each coefficient and each point owes to the gradient of the sums.
//
// Again the samples come sorted. The gradient of a row of coefficients gathers in registers until its last interval has
// passed, so that it is written once; threads share the inputs, so that no two write the same number, and the order of
// every sum is fixed.
#pragma once

#include "start.h"

namespace SUPERPOSE_ISA {

// Writes a finished row, or adds it to what earlier batches left there, and begins anew.
template <int NV, typename T> INLINE void finish_row(T *to, int tail, bool first, vec<T> *row) {
    if (!first) {
        vec<T> before[NV];
        load_row<NV>(to, tail, before);
        for (int v = 0; v < NV; v++) row[v] += before[v];
    }
    store_row<NV>(to, tail, row);
    for (int v = 0; v < NV; v++) row[v] = vec<T>{};
}

// Gradient of one input's coefficients over a strip of outputs. Row m gathers in register set m modulo K + 1.
template <typename T, int K, bool BASE, int NV>
static void gather_rows(const Sorted<T, K> &sorted, int64_t intervals, const T *grad, bool first, int tail, T *coef,
                        int64_t stride, T *weight) {
    typedef vec<T> V;
    constexpr int L = lanes<T>, R = K + 1;
    const T *const values = sorted.field, *const bases = sorted.value(sorted.BASE);
    const int64_t field = sorted.stride;
    const int32_t *const sample = sorted.sample;
    const Run *run = sorted.runs, *const last = run + sorted.count;
    V row[R][NV] = {}, base[NV] = {};
    int64_t k = 0;
    for (int64_t s = 0; s < intervals; s += R)
#pragma GCC unroll 4
        for (int phase = 0; phase < R; phase++) { // interval s + phase begins with row s + phase, in set `phase`
            if (s + phase >= intervals) break;
            const int64_t end = run < last && run->interval == s + phase ? run++->end : k;
            T *const out = coef + (s + phase) * stride;
            foresee_row<NV>(out);
            for (; k < end; k++) {
                const T *from = grad + (int64_t)sample[k] * (NV * L);
                V g[NV];
                for (int v = 0; v < NV; v++) g[v] = load<V>(from + v * L);
#pragma GCC unroll 4
                for (int j = 0; j < R; j++)
                    for (int v = 0; v < NV; v++) row[(phase + j) % R][v] += values[j * field + k] * g[v];
                if (BASE)
                    for (int v = 0; v < NV; v++) base[v] += bases[k] * g[v];
            }
            finish_row<NV>(out, tail, first, row[phase]);
        }
    for (int64_t m = intervals; m < intervals + K; m++)
        for (int set = 0; set < R; set++)
            if (m % R == set) finish_row<NV>(coef + m * stride, tail, first, row[set]);
    if (BASE) finish_row<NV>(weight, tail, first, base);
}

// Gradient of one input's points, in their sorted order, from a strip of outputs: the slope of every edge times the
// gradient of its sum.
template <typename T, int K, bool BASE, int NV>
static void gather_points(const Sorted<T, K> &sorted, const T *grad, const T *coef, int64_t rows, int64_t stride,
                          const T *weight, int tail, bool first, T *out) {
    typedef vec<T> V;
    constexpr int L = lanes<T>;
    const T *const slopes = sorted.value(sorted.SLOPE), *const bases = sorted.value(sorted.BASE_SLOPE);
    const int64_t field = sorted.stride;
    const int32_t *const sample = sorted.sample;
    V base[NV];
    if (BASE) load_row<NV>(weight, tail, base);
    foresee_rows<K, BASE, NV>(coef + rows * stride, weight + stride, stride);
    int64_t k = 0;
    for (int64_t r = 0; r < sorted.count; r++) {
        const Run run = sorted.runs[r];
        const T *from = coef + run.interval * stride;
        foresee_row<NV>(from + (rows + K) * stride);
        V step[K][NV], left[NV];
        load_row<NV>(from, tail, left);
        for (int j = 0; j < K; j++) {
            V right[NV];
            load_row<NV>(from + (j + 1) * stride, tail, right);
            for (int v = 0; v < NV; v++) step[j][v] = right[v] - left[v], left[v] = right[v];
        }
        for (; k < run.end; k++) {
            const T *g = grad + (int64_t)sample[k] * (NV * L);
            V total = {};
            for (int v = 0; v < NV; v++) {
                V slope = slopes[k] * step[0][v];
                for (int j = 1; j < K; j++) slope += slopes[j * field + k] * step[j][v];
                if (BASE) slope += bases[k] * base[v];
                total += slope * load<V>(g + v * L);
            }
            out[k] = first ? sum(total) : out[k] + sum(total);
        }
    }
}

// Many samples at a time, for the gradient of the coefficients is read and written for each batch.
constexpr int64_t MANY = 1024;

template <typename T, int K, bool BASE> struct Backward {
    const BsplineCall *call;
    const Grid<T> *grids;
    const T *weight; // inputs x outputs
    T *grad_weight;  // inputs x outputs
    int64_t batch;

    // One strip of some samples and inputs; `grad` is the strip of the gradient, dense.
    template <int NV>
    static void strip(const Backward &self, const Sorted<T, K> *sorted, int64_t input, int64_t inputs, int64_t output, int tail,
                      const T *grad, bool first_batch, bool first_strip, T *points) {
        const BsplineCall &call = *self.call;
        const int64_t rows = call.intervals + K;
        for (int64_t i = 0; i < inputs; i++) {
            const int64_t at = (input + i) * rows * call.outputs + output, edge = (input + i) * call.outputs + output;
            if (call.grad_coef)
                gather_rows<T, K, BASE, NV>(sorted[i], call.intervals, grad, first_batch, tail, (T *)call.grad_coef + at,
                                            call.outputs, self.grad_weight + edge);
            if (call.grad_x)
                gather_points<T, K, BASE, NV>(sorted[i], grad, (const T *)call.coef + at, rows, call.outputs, self.weight + edge, tail,
                                              first_strip, points + i * sorted[i].stride);
        }
    }

    typedef void (*Strip)(const Backward &, const Sorted<T, K> *, int64_t, int64_t, int64_t, int, const T *, bool, bool, T *);

    void run(int64_t begin, int64_t end) const {
        static const Strip work[] = {strip<1>, strip<2>, strip<3>, strip<4>};
        const Strips<T> strips = {0, call->outputs};
        const int64_t block = inputs_at_once<T, K>(batch);
        for (int64_t sample = 0; sample < call->samples; sample += batch) {
            const int64_t samples = call->samples - sample < batch ? call->samples - sample : batch;
            T *grad = (T *)scratch(12, samples * strips.WIDTH * (int64_t)sizeof(T));
            for (int64_t input = begin; input < end; input += block) {
                const int64_t inputs = end - input < block ? end - input : block;
                const auto make = call->grad_x ? sort_inputs<T, K, BASE, true> : sort_inputs<T, K, BASE, false>;
                const Sorted<T, K> *sorted = make(*call, grids, sample, samples, input, inputs);
                T *points = (T *)scratch(9, inputs * sorted->stride * (int64_t)sizeof(T));
                for (int64_t s = 0; s < strips.count(); s++) {
                    read_strip(strips, s, (const T *)call->grad + sample * call->outputs, samples, call->outputs, grad);
                    work[strips.vectors(s) - 1](*this, sorted, input, inputs, strips.begin(s), strips.tail(s), grad,
                                                sample == 0, s == 0, points);
                }
                if (call->grad_x)
                    for (int64_t i = 0; i < inputs; i++)
                        for (int64_t k = 0; k < samples; k++)
                            ((T *)call->grad_x)[(sample + sorted[i].sample[k]) * call->inputs + input + i] =
                                points[i * sorted->stride + k];
            }
        }
        if (call->grad_weight)
            transpose(grad_weight + begin * call->outputs, call->outputs, end - begin, call->outputs,
                      (T *)call->grad_weight + begin, call->inputs);
    }

    static void part(void *context, int64_t index) {
        const Backward &self = *(const Backward *)context;
        const int64_t parts = self.call->threads, inputs = self.call->inputs;
        self.run(inputs * index / parts, inputs * (index + 1) / parts);
    }

    static void start(const BsplineCall &call, const Grid<T> *grids) {
        Backward self = {&call, grids, nullptr, nullptr, batch_size(call, MANY)};
        if (BASE) {
            const int64_t bytes = call.inputs * call.outputs * (int64_t)sizeof(T);
            if (call.grad_x) self.weight = turned_weight<T>(call);
            self.grad_weight = (T *)scratch(14, bytes);
        }
        run_parts(part, &self, call.threads, call.threads);
    }
};

void bspline_backward(const BsplineCall &call) { start<Backward>(call); }

} // namespace SUPERPOSE_ISA
