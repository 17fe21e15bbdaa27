// What Python calls: plain C functions that know nothing of Python or PyTorch.
#include "bspline.h"
#include "jacobian.h"
#include "rational.h"

#include <stdlib.h>

namespace {

// GOMP_parallel and omp_get_thread_num, omp_get_num_threads of the OpenMP runtime that the program has loaded already.
typedef void (*Parallel)(void (*body)(void *), void *data, unsigned threads, unsigned flags);
typedef int (*Number)();
Parallel parallel = nullptr;
Number thread_number = nullptr, thread_count = nullptr;

struct Parts {
    Job job;
    void *context;
    int64_t parts;
};

// A team may be smaller than asked for; the parts, and so the results, stay the same.
void share(void *data) {
    const Parts &all = *(const Parts *)data;
    const int64_t team = thread_count();
    for (int64_t part = thread_number(); part < all.parts; part += team) all.job(all.context, part);
}

struct Memory {
    void *data[16] = {};
    int64_t size[16] = {};
    ~Memory() {
        for (void *block : data) free(block);
    }
};
thread_local Memory memory;

int level = -1; // of the instruction set: 0 baseline, 1 AVX2, 2 AVX-512

int best_level() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

} // namespace

void run_parts(Job job, void *context, int64_t parts, int64_t threads) {
    const int64_t team = parts < threads ? parts : threads;
    if (team > 1 && parallel) {
        Parts all = {job, context, parts};
        parallel(share, &all, (unsigned)team, 0);
    } else
        for (int64_t part = 0; part < parts; part++) job(context, part);
}

void *scratch(int slot, int64_t bytes) {
    if (memory.size[slot] < bytes) {
        free(memory.data[slot]);
        const int64_t size = (bytes + bytes / 4 + 127) / 64 * 64;
        memory.data[slot] = aligned_alloc(64, (size_t)size);
        if (!memory.data[slot]) abort();
        memory.size[slot] = size;
    }
    return memory.data[slot];
}

#if defined(__x86_64__)
#define DISPATCH(function, call)                                                                                       \
    if (level == 2) avx512::function(call);                                                                            \
    else if (level == 1) avx2::function(call);                                                                         \
    else baseline::function(call);
#else
#define DISPATCH(function, call) baseline::function(call);
#endif

#pragma GCC visibility push(default)
extern "C" {

// Gives the kernels the OpenMP runtime in use, and says which instruction set they have chosen; `most` bounds it.
int superpose_start(void *gomp_parallel, void *omp_get_thread_num, void *omp_get_num_threads, int most) {
    parallel = (Parallel)gomp_parallel;
    thread_number = (Number)omp_get_thread_num;
    thread_count = (Number)omp_get_num_threads;
    const int best = best_level();
    return level = best < most ? best : most;
}

void superpose_bspline(const BsplineCall *call) {
    if (call->grad) { DISPATCH(bspline_backward, *call) }
    else { DISPATCH(bspline_forward, *call) }
}

void superpose_rational(const RationalCall *call) { DISPATCH(rational, *call) }

void superpose_network(const NetworkCall *call) { DISPATCH(network, *call) }
}
#pragma GCC visibility pop
