// The B-spline layer on the CPU: what the Python side calls, and what the files for the instruction sets share.
#pragma once

#include "threads.h"

// One call, as the Python side packs it: sizes, then pointers (0 where there is none). All arrays are dense.
struct BsplineCall {
    int64_t samples, inputs, outputs, intervals;
    int64_t degree;        // 1 to 3
    int64_t extrapolation; // 0 linear, 1 clamp, 2 zero
    int64_t shared_knots;  // 1 if one row of knots serves all inputs
    int64_t wide;          // 0 float, 1 double
    int64_t threads;
    const void *x;         // samples x inputs
    const void *coef;      // inputs x (intervals + degree) x outputs
    const void *knots;     // rows x (intervals + 2 degree + 1)
    const void *weight;    // outputs x inputs, or none
    void *y;               // samples x outputs: the forward pass if there is one, else the backward pass
    const void *grad;      // samples x outputs
    void *grad_x;          // samples x inputs, or none
    void *grad_coef;       // as coef, or none
    void *grad_weight;     // as weight, or none
};

#define DECLARE(isa)                                                                                                   \
    namespace isa {                                                                                                    \
    void bspline_forward(const BsplineCall &call);                                                                     \
    void bspline_backward(const BsplineCall &call);                                                                    \
    }
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
#undef DECLARE
