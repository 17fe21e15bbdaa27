// Numbers of 16 bits, which are stored as such and computed in float.
#pragma once

#include "simd.h"

namespace SUPERPOSE_ISA {

struct bfloat16 {
    uint16_t bits;
};
struct float16 {
    uint16_t bits;
};

// What numbers of a type are computed in.
template <typename S> struct computed { typedef S type; };
template <> struct computed<bfloat16> { typedef float type; };
template <> struct computed<float16> { typedef float type; };
template <typename S> using wide = typename computed<S>::type;

typedef uint16_t short_vec __attribute__((vector_size(SUPERPOSE_BYTES / 2)));

// 16 bits to 32, the upper ones zero, and back, without the upper ones.
#if defined(__AVX512F__)
INLINE ivec<float> extend(short_vec from) { return (ivec<float>)_mm512_cvtepu16_epi32((__m256i)from); }
INLINE short_vec cut(ivec<float> from) { return (short_vec)_mm512_cvtepi32_epi16((__m512i)from); }
#elif defined(__AVX2__)
INLINE ivec<float> extend(short_vec from) { return (ivec<float>)_mm256_cvtepu16_epi32((__m128i)from); }
INLINE short_vec cut(ivec<float> from) { return __builtin_convertvector(from, short_vec); }
#else
INLINE ivec<float> extend(short_vec from) { return __builtin_convertvector(from, ivec<float>); }
INLINE short_vec cut(ivec<float> from) { return __builtin_convertvector(from, short_vec); }
#endif

INLINE vec<float> widen(short_vec from, bfloat16) { return (vec<float>)(extend(from) << 16); }

// Rounds to nearest, ties to even, as PyTorch does; NaN keeps no more than that it is NaN.
INLINE short_vec narrow(vec<float> from, bfloat16) {
    typedef ivec<float> I;
    const I bits = (I)from, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, ordinary = from == from;
    return cut((rounded & ordinary) | (0x7fc0 & ~ordinary));
}

#if defined(__AVX512F__)
INLINE vec<float> widen(short_vec from, float16) { return (vec<float>)_mm512_cvtph_ps((__m256i)from); }
INLINE short_vec narrow(vec<float> from, float16) {
    return (short_vec)_mm512_cvtps_ph((__m512)from, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#else
INLINE vec<float> widen(short_vec from, float16) {
    typedef ivec<float> I;
    const I bits = extend(from), size = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
    const I special = size >= 0x7c00 << 13; // infinite or NaN
    const vec<float> value = (vec<float>)(I)(size + ((127 - 15) << 23));
    // Below 2^-14 the exponent is that of 2^-14 with no leading one, so one is added and taken away again.
    const I tiny = size < 0x400 << 13, lifted = (I)((vec<float>)(I)(size + (113 << 23)) - 0x1p-14f);
    const I ordinary = (lifted & tiny) | ((I)value & ~tiny);
    return (vec<float>)(sign | (((size | 0x7f800000) & special) | (ordinary & ~special)));
}
INLINE short_vec narrow(vec<float> from, float16) {
    typedef ivec<float> I;
    const I bits = (I)from, size = bits & 0x7fffffff, sign = (bits >> 16) & 0x8000;
    const I usual = (size - (112 << 23) + 0xfff + ((size >> 13) & 1)) >> 13; // the carry may reach infinity
    const I small = (I)((vec<float>)size + 0.5f) - 0x3f000000; // the last bit of 0.5 is the least number
    const I is_small = size < 0x38800000, is_large = size >= 0x47800000, is_nan = size > 0x7f800000;
    I result = (small & is_small) | (usual & ~is_small);
    result = (0x7c00 & is_large) | (result & ~is_large);
    result = (0x7e00 & is_nan) | (result & ~is_nan);
    return cut(result | sign);
}
#endif

// A vector of numbers as they are computed, from and to memory; the first `count` of it, the others zero, at least 1.
INLINE vec<float> read(const float *from) { return load<vec<float>>(from); }
INLINE vec<double> read(const double *from) { return load<vec<double>>(from); }
INLINE vec<float> read_part(const float *from, int count) { return load_part(from, count); }
INLINE vec<double> read_part(const double *from, int count) { return load_part(from, count); }
INLINE void write(float *to, vec<float> value) { store(to, value); }
INLINE void write(double *to, vec<double> value) { store(to, value); }
INLINE void write_part(float *to, vec<float> value, int count) { store_part(to, value, count); }
INLINE void write_part(double *to, vec<double> value, int count) { store_part(to, value, count); }

template <typename S> INLINE vec<float> read(const S *from) { return widen(load<short_vec>(from), S{}); }
template <typename S> INLINE void write(S *to, vec<float> value) { store(to, narrow(value, S{})); }

template <typename S> INLINE vec<float> read_part(const S *from, int count) {
    S lane[lanes<float>] = {};
    memcpy(lane, from, (size_t)count * sizeof(S));
    return read(lane);
}
template <typename S> INLINE void write_part(S *to, vec<float> value, int count) {
    S lane[lanes<float>];
    write(lane, value);
    memcpy(to, lane, (size_t)count * sizeof(S));
}

} // namespace SUPERPOSE_ISA
