// The group-rational function on the CPU: what the Python side calls.
#pragma once

#include "threads.h"

// One call, as the Python side packs it: sizes, then pointers (0 where there is none). All arrays are dense.
struct RationalCall {
    int64_t rows, channels, inner; // of x: channel c belongs to group c * groups / channels
    int64_t groups;
    int64_t shared_numerator, shared_denominator; // 1 if one row of coefficients serves all groups
    int64_t m, n;            // degrees, at most 32
    int64_t form;            // 0 sum of absolute values, 1 absolute value of the sum
    int64_t type;            // of x, y and their gradients: 0 float, 1 double, 2 bfloat16, 3 float16
    int64_t threads;
    const void *x;           // rows x channels x inner
    const void *numerator;   // groups or 1 x (m + 1): double with x in double, else float, as all coefficients
    const void *denominator; // groups or 1 x n
    void *y;                 // as x: the forward pass if there is one, else the backward pass
    const void *grad;        // as x
    void *grad_x;            // as x, or none
    void *grad_numerator;    // as the numerator, or none; then there is no gradient of the denominator either
    void *grad_denominator;  // as the denominator
};

#define DECLARE(isa)                                                                                                   \
    namespace isa {                                                                                                    \
    void rational(const RationalCall &call);                                                                           \
    }
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
#undef DECLARE
