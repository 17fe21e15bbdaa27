// Strips of outputs: as wide as the registers allow for the rows of one interval.
#pragma once

#include "sorted.h"

namespace SUPERPOSE_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int STRIP = 4; // vectors of outputs: 5 rows, the sums and a weight are to fit in 32 registers
#else
constexpr int STRIP = 2; // in 16 registers
#endif

// A row of NV vectors, of which the last holds `tail` numbers.
template <int NV, typename T> INLINE void load_row(const T *from, int tail, vec<T> *row) {
    constexpr int L = lanes<T>;
    for (int v = 0; v < NV - 1; v++) row[v] = load<vec<T>>(from + v * L);
    row[NV - 1] = tail == L ? load<vec<T>>(from + (NV - 1) * L) : load_part(from + (NV - 1) * L, tail);
}

template <int NV, typename T> INLINE void store_row(T *to, int tail, const vec<T> *row) {
    constexpr int L = lanes<T>;
    for (int v = 0; v < NV - 1; v++) store(to + v * L, row[v]);
    if (tail == L) store(to + (NV - 1) * L, row[NV - 1]);
    else store_part(to + (NV - 1) * L, row[NV - 1], tail);
}

// Rows lie too far apart for the processor to foresee them, so a pass asks for the next input's: the last row an interval
// reaches with each interval, the others when it begins.
template <int NV, typename T> INLINE void foresee_row(const T *row) {
    for (int v = 0; v < NV; v++) __builtin_prefetch(row + v * lanes<T>);
    __builtin_prefetch(row + NV * lanes<T> - 1); // a row may begin within a line
}

template <int K, bool BASE, int NV, typename T> INLINE void foresee_rows(const T *coef, const T *weight, int64_t stride) {
    if (BASE) foresee_row<NV>(weight);
    for (int j = 0; j < K; j++) foresee_row<NV>(coef + j * stride);
}

// The outputs from `first` to `last` in strips.
template <typename T> struct Strips {
    static constexpr int64_t L = lanes<T>, WIDTH = STRIP * L;
    int64_t first, last;

    int64_t count() const { return (last - first + WIDTH - 1) / WIDTH; }
    int64_t begin(int64_t strip) const { return first + strip * WIDTH; }
    int64_t width(int64_t strip) const { return last - begin(strip) < WIDTH ? last - begin(strip) : WIDTH; }
    int64_t vectors(int64_t strip) const { return (width(strip) + L - 1) / L; }
    int tail(int64_t strip) const { return (int)(width(strip) - (vectors(strip) - 1) * L); }
};

// A strip of the rows of a matrix, one after the other, the last vector filled up with zeros.
template <typename T>
static void read_strip(const Strips<T> &strips, int64_t strip, const T *from, int64_t samples, int64_t stride, T *to) {
    const int64_t vectors = strips.vectors(strip), tail = strips.tail(strip);
    from += strips.begin(strip);
    for (int64_t b = 0; b < samples; b++, from += stride, to += vectors * strips.L) {
        for (int64_t v = 0; v < vectors - 1; v++) store(to + v * strips.L, load<vec<T>>(from + v * strips.L));
        store(to + (vectors - 1) * strips.L, load_part(from + (vectors - 1) * strips.L, (int)tail));
    }
}

// A block of columns of a row-major matrix, each column in a row of its own.
template <typename T>
static void transpose(const T *from, int64_t from_stride, int64_t rows, int64_t columns, T *to, int64_t to_stride) {
    for (int64_t c = 0; c < columns; c += 16) {
        const int64_t width = columns - c < 16 ? columns - c : 16;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < width; i++) to[(c + i) * to_stride + r] = from[r * from_stride + c + i];
    }
}

// The base weights as inputs x outputs, in scratch memory of the calling thread.
template <typename T> static const T *turned_weight(const BsplineCall &call) {
    T *turned = (T *)scratch(13, call.inputs * call.outputs * (int64_t)sizeof(T));
    transpose((const T *)call.weight, call.inputs, call.outputs, call.inputs, turned, call.outputs);
    return turned;
}

} // namespace SUPERPOSE_ISA
