// Small networks of B-spline layers, several side by side: values, and the normal equations of Gauss-Newton steps.
#pragma once

#include <stdint.h>

// One layer of all networks. Features of an input are its base function and then its B-splines.
struct NetworkLayer {
    int64_t inputs, outputs, intervals;
    const double *knots;  // networks x inputs x (intervals + 2 degree + 1)
    const double *matrix; // networks x outputs x (inputs x (1 + intervals + degree))
    double *y;            // networks x samples x outputs, or none: what the layer gives
};

// One call, as the Python side packs it: sizes, then pointers (0 where there is none), then its layers. Arrays are dense.
struct NetworkCall {
    int64_t networks, samples, layers;
    int64_t degree;        // 1 to 3
    int64_t extrapolation; // 0 linear, 1 clamp, 2 zero
    int64_t base;          // 0 the input itself, 1 silu
    int64_t rows;          // of the root, for each sample
    int64_t threads;
    int64_t own;           // 1 if every network has inputs of its own
    const double *x;       // samples x inputs; networks x samples x inputs if they have their own
    const double *root;    // networks x samples x rows x outputs, or none: R with R^T R the curvature of the loss
    const double *slopes;  // networks x samples x outputs: of the loss, by the outputs
    double *gradient;      // networks x parameters
    double *hessian;       // networks x parameters x parameters

    const NetworkLayer &layer(int64_t l) const { return ((const NetworkLayer *)(this + 1))[l]; }
};

#define DECLARE(isa)                                                                                                   \
    namespace isa {                                                                                                    \
    void network(const NetworkCall &call);                                                                             \
    }
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
#undef DECLARE
