// Vectors of the widest registers of one instruction set, by the vector extensions that GCC and Clang share.
//
// Included once per instruction set, in a file compiled for it. Everything is static or in a namespace of that set, and
// nothing from the C++ library is used, so that no function compiled for one set can be linked into another.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define SUPERPOSE_ISA avx512
#define SUPERPOSE_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define SUPERPOSE_ISA avx2
#define SUPERPOSE_BYTES 32
#else
#define SUPERPOSE_ISA baseline
#define SUPERPOSE_BYTES 16
#endif

#define INLINE static inline __attribute__((always_inline))

namespace SUPERPOSE_ISA {

template <typename T> struct simd;

template <> struct simd<float> {
    typedef float vec __attribute__((vector_size(SUPERPOSE_BYTES)));
    typedef int32_t ivec __attribute__((vector_size(SUPERPOSE_BYTES)));
    typedef float quad __attribute__((vector_size(16)));
    typedef int32_t bits;
};

template <> struct simd<double> {
    typedef double vec __attribute__((vector_size(SUPERPOSE_BYTES)));
    typedef int64_t ivec __attribute__((vector_size(SUPERPOSE_BYTES)));
    typedef double quad __attribute__((vector_size(32)));
    typedef int64_t bits;
};

template <typename T> using vec = typename simd<T>::vec;
template <typename T> using ivec = typename simd<T>::ivec;
template <typename T> using quad = typename simd<T>::quad;
template <typename T> constexpr int lanes = SUPERPOSE_BYTES / sizeof(T);

template <typename V, typename T> INLINE V load(const T *from) {
    V out;
    memcpy(&out, from, sizeof(V));
    return out;
}

template <typename V, typename T> INLINE void store(T *to, V value) { memcpy(to, &value, sizeof(V)); }

// The first `count` lanes, the others zero; and back. `count` is at least 1.
#if defined(__AVX512F__)
INLINE vec<float> load_part(const float *from, int count) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
}
INLINE vec<double> load_part(const double *from, int count) {
    return _mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), from);
}
INLINE void store_part(float *to, vec<float> value, int count) {
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), value);
}
INLINE void store_part(double *to, vec<double> value, int count) {
    _mm512_mask_storeu_pd(to, (__mmask8)((1u << count) - 1), value);
}
#elif defined(__AVX2__)
INLINE __m256i first(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE __m256i first_pairs(int count) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)); }
INLINE vec<float> load_part(const float *from, int count) { return _mm256_maskload_ps(from, first(count)); }
INLINE vec<double> load_part(const double *from, int count) { return _mm256_maskload_pd(from, first_pairs(count)); }
INLINE void store_part(float *to, vec<float> value, int count) { _mm256_maskstore_ps(to, first(count), value); }
INLINE void store_part(double *to, vec<double> value, int count) { _mm256_maskstore_pd(to, first_pairs(count), value); }
#else
template <typename T> INLINE vec<T> load_part(const T *from, int count) {
    T lane[lanes<T>] = {};
    for (int i = 0; i < count; i++) lane[i] = from[i];
    return load<vec<T>>(lane);
}
template <typename T> INLINE void store_part(T *to, vec<T> value, int count) {
    T lane[lanes<T>];
    store(lane, value);
    for (int i = 0; i < count; i++) to[i] = lane[i];
}
#endif

template <typename T> INLINE vec<T> select(ivec<T> mask, vec<T> yes, vec<T> no) {
    return (vec<T>)(((ivec<T>)yes & mask) | ((ivec<T>)no & ~mask));
}

template <typename I> INLINE bool any(I mask) {
    I none = {};
    return memcmp(&mask, &none, sizeof mask) != 0;
}

#if defined(__AVX512F__)
INLINE float sum(vec<float> value) { return _mm512_reduce_add_ps(value); }
INLINE double sum(vec<double> value) { return _mm512_reduce_add_pd(value); }
#else
template <typename T> INLINE T sum_lanes(vec<T> value) {
    T lane[lanes<T>];
    store(lane, value);
    for (int width = lanes<T> / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}
INLINE float sum(vec<float> value) { return sum_lanes<float>(value); }
INLINE double sum(vec<double> value) { return sum_lanes<double>(value); }
#endif

// exp by Cody and Waite's reduction to [-log(2)/2, log(2)/2] and the series there; NaN stays NaN.
INLINE vec<float> exponential(vec<float> x) {
    typedef vec<float> V;
    typedef ivec<float> I;
    const I over = x > 88.7f;
    x = select<float>(over, V{} + 88.7f, x);
    x = select<float>(x < -87.3f, V{} - 87.3f, x);
    const V magic = V{} + 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    V shifted = x * 1.44269504088896341f + magic;
    V n = shifted - magic;
    V r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    V p = V{} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    V y = (p * r) * r + r + 1.0f;
    I scale = (((I)shifted - (I)magic) + 127) << 23;
    return select<float>(over, V{} + __builtin_inff(), y * (V)scale);
}

INLINE vec<double> exponential(vec<double> x) {
    typedef vec<double> V;
    typedef ivec<double> I;
    const I over = x > 709.0;
    x = select<double>(over, V{} + 709.0, x);
    x = select<double>(x < -708.0, V{} - 708.0, x);
    const V magic = V{} + 6755399441055744.0; // 1.5 * 2^52
    V shifted = x * 1.4426950408889634074 + magic;
    V n = shifted - magic;
    V r = x - n * 6.93145751953125e-1;
    r = r - n * 1.42860682030941723212e-6;
    V p = V{} + 1.0 / 6227020800.0; // 1 / 13!
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    V y = (p * r) * r + r + 1.0;
    I scale = (((I)shifted - (I)magic) + 1023) << 52;
    return select<double>(over, V{} + __builtin_inf(), y * (V)scale);
}

// silu(x) = x / (1 + exp(-x)), and its slope.
template <typename T> INLINE void silu(vec<T> x, vec<T> &value, vec<T> &slope) {
    vec<T> gate = (T)1 / ((T)1 + exponential(-x));
    value = x * gate;
    slope = gate + value * ((T)1 - gate);
}

} // namespace SUPERPOSE_ISA
