// Forward pass: every sample meets the rows of coefficients that its B-splines reach.
//
// A strip of outputs is as wide as the registers allow for the rows of one interval; the sums of a batch of samples over
// the strip stay in the first-level cache while all inputs pass.
#pragma once

#include "start.h"

namespace SUPERPOSE_ISA {

// Adds one input's part to the sums, which the first one begins: `coef` and `weight` point to the strip's columns of its rows.
template <typename T, int K, bool BASE, int NV, bool FIRST>
static void add_input(const Sorted<T, K> &sorted, const T *coef, int64_t rows, int64_t stride, const T *weight, int tail,
                      T *sums) {
    typedef vec<T> V;
    constexpr int L = lanes<T>;
    // Copies, since the compiler cannot know that the sums do not overwrite what `sorted` holds.
    const T *const values = sorted.field, *const bases = sorted.value(sorted.BASE);
    const int64_t field = sorted.stride, runs = sorted.count;
    const int32_t *const sample = sorted.sample;
    V base[NV];
    if (BASE) load_row<NV>(weight, tail, base);
    foresee_rows<K, BASE, NV>(coef + rows * stride, weight + stride, stride);
    int64_t k = 0;
    for (int64_t r = 0; r < runs; r++) {
        const Run run = sorted.runs[r];
        const T *from = coef + run.interval * stride;
        V row[K + 1][NV];
        for (int j = 0; j <= K; j++) load_row<NV>(from + j * stride, tail, row[j]);
        foresee_row<NV>(from + (rows + K) * stride);
        for (; k < run.end; k++) {
            T *to = sums + (int64_t)sample[k] * (NV * L);
            V sum[NV];
            for (int v = 0; v < NV; v++) sum[v] = FIRST ? V{} : load<V>(to + v * L);
            for (int j = 0; j <= K; j++)
                for (int v = 0; v < NV; v++) sum[v] += values[j * field + k] * row[j][v];
            if (BASE)
                for (int v = 0; v < NV; v++) sum[v] += bases[k] * base[v];
            for (int v = 0; v < NV; v++) store(to + v * L, sum[v]);
        }
    }
}

// One strip of outputs of some samples and inputs.
template <typename T, int K, bool BASE, int NV>
static void add_inputs(const BsplineCall &call, const Sorted<T, K> *sorted, const T *weight, int64_t input, int64_t inputs,
                       int64_t output, int tail, T *sums) {
    const int64_t rows = call.intervals + K;
    for (int64_t i = input; i < input + inputs; i++) {
        const auto add = i ? add_input<T, K, BASE, NV, false> : add_input<T, K, BASE, NV, true>;
        add(sorted[i - input], (const T *)call.coef + i * rows * call.outputs + output, rows, call.outputs,
            weight + i * call.outputs + output, tail, sums);
    }
}

// The sums of some samples, strip after strip, to the rows of the result.
template <typename T>
static void write_rows(const Strips<T> &strips, const T *sums, int64_t samples, T *y, int64_t stride) {
    for (int64_t b = 0; b < samples; b++)
        for (int64_t strip = 0; strip < strips.count(); strip++) {
            const T *from = sums + strip * samples * strips.WIDTH + b * strips.vectors(strip) * strips.L;
            T *to = y + b * stride + strips.begin(strip);
            for (int64_t at = 0; at < strips.WIDTH; at += 64 / (int64_t)sizeof(T)) __builtin_prefetch(to + stride + at, 1);
            memcpy(to, from, (size_t)strips.width(strip) * sizeof(T));
        }
}

// Few samples at a time, for their sums are read and written for each input.
constexpr int64_t FEW = 128;

template <typename T, int K, bool BASE> struct Forward {
    const BsplineCall *call;
    const Grid<T> *grids;
    const T *weight; // inputs x outputs
    int64_t batch;   // samples at a time
    bool by_samples; // whether the threads share the samples, or the outputs

    typedef void (*Add)(const BsplineCall &, const Sorted<T, K> *, const T *, int64_t, int64_t, int64_t, int, T *);

    void run(int64_t begin, int64_t end, const Strips<T> &strips) const {
        static const Add adds[] = {add_inputs<T, K, BASE, 1>, add_inputs<T, K, BASE, 2>, add_inputs<T, K, BASE, 3>,
                                   add_inputs<T, K, BASE, 4>};
        const int64_t block = inputs_at_once<T, K>(batch);
        for (int64_t sample = begin; sample < end; sample += batch) {
            const int64_t samples = end - sample < batch ? end - sample : batch, strip_size = samples * strips.WIDTH;
            T *sums = (T *)scratch(12, strips.count() * strip_size * (int64_t)sizeof(T));
            for (int64_t input = 0; input < call->inputs; input += block) {
                const int64_t inputs = call->inputs - input < block ? call->inputs - input : block;
                const auto *sorted = sort_inputs<T, K, BASE, false>(*call, grids, sample, samples, input, inputs);
                for (int64_t strip = 0; strip < strips.count(); strip++)
                    adds[strips.vectors(strip) - 1](*call, sorted, weight, input, inputs, strips.begin(strip),
                                                    strips.tail(strip), sums + strip * strip_size);
            }
            write_rows(strips, sums, samples, (T *)call->y + sample * call->outputs, call->outputs);
        }
    }

    static void part(void *context, int64_t index) {
        const Forward &self = *(const Forward *)context;
        const int64_t threads = self.call->threads, width = STRIP * lanes<T>;
        const int64_t strips = (self.call->outputs + width - 1) / width, all = self.by_samples ? self.call->samples : strips;
        const int64_t from = all * index / threads, to = all * (index + 1) / threads;
        if (self.by_samples) return self.run(from, to, {0, self.call->outputs});
        self.run(0, self.call->samples, {from * width, to * width < self.call->outputs ? to * width : self.call->outputs});
    }

    static void start(const BsplineCall &call, const Grid<T> *grids) {
        Forward self = {&call, grids, BASE ? turned_weight<T>(call) : nullptr, batch_size(call, FEW), call.samples >= 64 * call.threads};
        run_parts(part, &self, call.threads, call.threads);
    }
};

void bspline_forward(const BsplineCall &call) { start<Forward>(call); }

} // namespace SUPERPOSE_ISA
