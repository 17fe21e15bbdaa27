// The kernels of one instruction set: this file is compiled once for each.
#include "bspline_forward.h"
#include "bspline_backward.h"
