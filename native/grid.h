// Knots made ready for a pass: the pieces of all B-splines as polynomials.
#pragma once

#include "bspline.h"
#include "simd.h"

namespace SUPERPOSE_ISA {

// The B-splines of degree K that live on one interval, as polynomials in u = (x - left end) / width, and the factors of
// the differences of neighbouring coefficients in the slope: sum_j C_j B_j' = sum_j (C_{j+1} - C_j) slope_j / width.
template <typename T> struct Piece {
    quad<T> value[4]; // value[p][j]: power p of B-spline j
    quad<T> slope[3];
};

// By Cox and de Boor's recursion on polynomials (Piegl and Tiller, The NURBS Book, eq. 2.5); `t[K]` is the interval's
// left knot and `t[K + 1]` the right one.
template <typename T, int K> static void make_piece(const T *t, Piece<T> &piece) {
    const double width = (double)t[K + 1] - (double)t[K];
    double local[2 * K + 2], values[K + 1][K + 1] = {{1}};
    for (int j = 0; j < 2 * K + 2; j++) local[j] = ((double)t[j] - (double)t[K]) / width;
    memset(&piece, 0, sizeof piece);
    for (int level = 1; level <= K; level++) {
        double next[K + 1][K + 1] = {};
        for (int r = 0; r < level; r++) {
            const double left = local[K + 1 + r - level], right = local[K + 1 + r];
            for (int p = 0; p < level; p++) {
                const double share = values[r][p] / (right - left);
                if (level == K) piece.slope[p][r] = (T)(K * share);
                next[r][p] += right * share, next[r][p + 1] -= share;
                next[r + 1][p] -= left * share, next[r + 1][p + 1] += share;
            }
        }
        memcpy(values, next, sizeof next);
    }
    for (int j = 0; j <= K; j++)
        for (int p = 0; p <= K; p++) piece.value[p][j] = (T)values[j][p];
}

// One input's knots.
template <typename T> struct Grid {
    const T *left;          // left[s] is the left end of interval s, left[intervals] the right end of the domain
    T low, high, rate;      // rate is intervals / (high - low)
    const Piece<T> *pieces; // one for each interval, or for all where the knots are even
    const T *rates;         // 1 / width for each interval; none where the knots are even
};

// Even to a rounding error of the splines' values: so far, in steps, may a knot lie from where an even one would be.
template <typename T> static bool is_even(const T *knots, int64_t count) {
    const double first = knots[0], step = ((double)knots[count - 1] - first) / (double)(count - 1);
    const double slack = 64 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * step;
    bool even = true;
    for (int64_t j = 1; j < count; j++) {
        const double gap = (double)knots[j] - (first + step * (double)j);
        even &= gap <= slack && -gap <= slack;
    }
    return even;
}

// The grids of all inputs, in scratch memory of the calling thread.
template <typename T, int K> static const Grid<T> *make_grids(const BsplineCall &call) {
    const int64_t rows = call.shared_knots ? 1 : call.inputs, count = call.intervals + 2 * K + 1;
    const T *knots = (const T *)call.knots;
    Grid<T> *grids = (Grid<T> *)scratch(0, call.inputs * (int64_t)sizeof(Grid<T>));
    bool *even = (bool *)scratch(1, rows);
    int64_t uneven = 0;
    for (int64_t row = 0; row < rows; row++) uneven += !(even[row] = is_even(knots + row * count, count));
    Piece<T> *pieces = (Piece<T> *)scratch(2, (uneven * call.intervals + 1) * (int64_t)sizeof(Piece<T>));
    T *rates = (T *)scratch(3, (uneven * call.intervals + 1) * (int64_t)sizeof(T));
    T whole[2 * K + 2];
    for (int j = 0; j < 2 * K + 2; j++) whole[j] = (T)(j - K);
    const Piece<T> *same = pieces;
    make_piece<T, K>(whole, *pieces++);
    for (int64_t row = 0; row < rows; row++) {
        const T *own = knots + row * count, *left = own + K;
        const T low = left[0], high = left[call.intervals];
        grids[row] = {left, low, high, (T)call.intervals / (high - low), same, nullptr};
        if (even[row]) continue;
        grids[row].pieces = pieces, grids[row].rates = rates;
        for (int64_t s = 0; s < call.intervals; s++) {
            make_piece<T, K>(own + s, *pieces++);
            *rates++ = (T)1 / (left[s + 1] - left[s]);
        }
    }
    for (int64_t i = rows; i < call.inputs; i++) grids[i] = grids[0];
    return grids;
}

} // namespace SUPERPOSE_ISA
