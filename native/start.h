// From what a call says to the pass that is compiled for it.
#pragma once

#include "narrow.h"

namespace SUPERPOSE_ISA {

template <template <typename, int, bool> class Pass, typename T, int K, bool BASE> static void start(const BsplineCall &call) {
    const Grid<T> *grids = make_grids<T, K>(call);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float))
        if (is_narrow(call, grids)) return Narrow<K, BASE>::start(call, grids);
#endif
    Pass<T, K, BASE>::start(call, grids);
}

template <template <typename, int, bool> class Pass, typename T, int K> static void start(const BsplineCall &call) {
    if (call.weight) start<Pass, T, K, true>(call);
    else start<Pass, T, K, false>(call);
}

template <template <typename, int, bool> class Pass, typename T> static void start(const BsplineCall &call) {
    if (call.degree == 1) start<Pass, T, 1>(call);
    else if (call.degree == 2) start<Pass, T, 2>(call);
    else start<Pass, T, 3>(call);
}

template <template <typename, int, bool> class Pass> static void start(const BsplineCall &call) {
    if (call.wide) start<Pass, double>(call);
    else start<Pass, float>(call);
}

} // namespace SUPERPOSE_ISA
