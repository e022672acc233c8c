// Vectors of 16 floats, in one register of AVX-512 or two of AVX2. Each lane has the same bits in both.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace palmetto {
namespace {

using Half = uint16_t;  // the bits of a bfloat16

#ifdef __AVX512F__

struct Vector {
  __m512 all;
};

inline Vector load(const float* from) { return {_mm512_loadu_ps(from)}; }
inline void store(float* to, Vector x) { _mm512_storeu_ps(to, x.all); }
inline Vector repeat(float x) { return {_mm512_set1_ps(x)}; }
inline Vector operator+(Vector a, Vector b) { return {_mm512_add_ps(a.all, b.all)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm512_sub_ps(a.all, b.all)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm512_mul_ps(a.all, b.all)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm512_div_ps(a.all, b.all)}; }
inline Vector root(Vector x) { return {_mm512_sqrt_ps(x.all)}; }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return {_mm512_fmadd_ps(a.all, b.all, c.all)}; }
inline Vector larger(Vector a, Vector b) { return {_mm512_max_ps(a.all, b.all)}; }

// Returns the first `count` lanes of x, and `other` in the rest; count may be negative or above 16.
inline Vector first_lanes(Vector x, int64_t count, Vector other) {
  const __mmask16 mask = count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1;
  return {_mm512_mask_blend_ps(mask, other.all, x.all)};
}

// Returns p · 2^n where x ≥ lowest or is NaN, else 0; the low bits of `shifted` hold n.
inline Vector scale_or_zero(Vector p, Vector shifted, Vector x, float lowest) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted.all), 23);
  const __m512 factor = _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(0x3f800000)));
  const __mmask16 kept = _mm512_cmp_ps_mask(x.all, _mm512_set1_ps(lowest), _CMP_NLT_UQ);
  return {_mm512_maskz_mul_ps(kept, p.all, factor)};
}

inline Vector load(const Half* from) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

inline void to_eights(Vector x, __m256* low, __m256* high) {
  *low = _mm512_castps512_ps256(x.all);
  *high = _mm512_extractf32x8_ps(x.all, 1);
}

#else

struct Vector {
  __m256 low, high;
};

inline Vector load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Vector x) {
  _mm256_storeu_ps(to, x.low);
  _mm256_storeu_ps(to + 8, x.high);
}
inline Vector repeat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vector operator+(Vector a, Vector b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Vector root(Vector x) { return {_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)}; }
inline Vector multiply_add(Vector a, Vector b, Vector c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Vector larger(Vector a, Vector b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }

inline Vector first_lanes(Vector x, int64_t count, Vector other) {
  const int kept = count >= 16 ? 16 : count <= 0 ? 0 : static_cast<int>(count);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 low = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(kept), lane));
  const __m256 high = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(kept - 8), lane));
  return {_mm256_blendv_ps(other.low, x.low, low), _mm256_blendv_ps(other.high, x.high, high)};
}

inline __m256 scale_or_zero(__m256 p, __m256 shifted, __m256 x, float lowest) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  const __m256 factor = _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(0x3f800000)));
  return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(lowest), _CMP_NLT_UQ), _mm256_mul_ps(p, factor));
}
inline Vector scale_or_zero(Vector p, Vector shifted, Vector x, float lowest) {
  return {scale_or_zero(p.low, shifted.low, x.low, lowest), scale_or_zero(p.high, shifted.high, x.high, lowest)};
}

inline __m256 load_eight(const Half* from) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Vector load(const Half* from) { return {load_eight(from), load_eight(from + 8)}; }

inline void to_eights(Vector x, __m256* low, __m256* high) {
  *low = x.low;
  *high = x.high;
}

#endif

#if defined __AVX512BF16__

// The instruction takes denormals for zeros.
inline void store(Half* to, Vector x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.all)));
}

#elif defined __AVX512F__

// Rounds to nearest, ties to even; NaN stays NaN.
inline void store(Half* to, Vector x) {
  const __m512i bits = _mm512_castps_si512(x.all);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x.all, x.all, _CMP_UNORD_Q);
  const __m512i rounded = _mm512_mask_or_epi32(up, is_nan, bits, _mm512_set1_epi32(0x400000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

#else

// Returns the bits of eight floats rounded to bfloat16, nearest even, in 32-bit lanes; NaN stays NaN.
inline __m256i rounded(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const __m256 chosen = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), is_nan);
  return _mm256_srli_epi32(_mm256_castps_si256(chosen), 16);
}

inline void store(Half* to, Vector x) {
  __m256 low, high;
  to_eights(x, &low, &high);
  const __m256i mixed = _mm256_packus_epi32(rounded(low), rounded(high));  // 128-bit lanes: low, high, low, high
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(mixed, 0xd8));
}

#endif

// Writes a matrix of 16 × 16 values of 32 bits transposed; rows lie `to_stride` and `from_stride` values apart.
inline void transpose_tile(float* to, int64_t to_stride, const float* from, int64_t from_stride) {
#ifdef __AVX512F__
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(from + i * from_stride);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m512i low = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88), high = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    const __m512i next_low = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    const __m512i next_high = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    _mm512_storeu_si512(to + i * to_stride, _mm512_shuffle_i32x4(low, next_low, 0x88));
    _mm512_storeu_si512(to + (i + 4) * to_stride, _mm512_shuffle_i32x4(high, next_high, 0x88));
    _mm512_storeu_si512(to + (i + 8) * to_stride, _mm512_shuffle_i32x4(low, next_low, 0xdd));
    _mm512_storeu_si512(to + (i + 12) * to_stride, _mm512_shuffle_i32x4(high, next_high, 0xdd));
  }
#else
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 16; j++) to[j * to_stride + i] = from[i * from_stride + j];
  }
#endif
}

// Reads up to 16 values; lanes from `count` on are zero.
template <typename Value>
Vector load_some(const Value* from, int64_t count) {
  if (count >= 16) return load(from);
  Value few[16] = {};
  memcpy(few, from, count * sizeof(Value));
  return load(few);
}

template <typename Value>
void store_some(Value* to, Vector x, int64_t count) {
  if (count >= 16) return store(to, x);
  Value few[16];
  store(few, x);
  memcpy(to, few, count * sizeof(Value));
}

// Returns the sum of the lanes, added in halves.
inline float sum(Vector x) {
  __m256 low, high;
  to_eights(x, &low, &high);
  const __m256 eight = _mm256_add_ps(low, high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// Returns the sums of 16 vectors, each with the bits of `sum`.
inline Vector sums(const Vector x[16]) {
#ifdef __AVX512F__
  // Halves of two vectors are added at a time, then quarters of four, and so on: the last lanes are those of every
  // fourth vector, 0, 4, 8, 12, 1, …, so that the vectors are taken in this order.
  __m512 two[8], four[4], eight[2];
  const auto vector = [&](int i) { return x[i % 4 * 4 + i / 4].all; };
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    const __m512 a = vector(2 * i), b = vector(2 * i + 1);
    two[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m512 a = two[2 * i], b = two[2 * i + 1];
    four[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    const __m512 a = four[2 * i], b = four[2 * i + 1];
    eight[i] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
  }
  const __m512 a = eight[0], b = eight[1];
  return {_mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd))};
#else
  // As above; the last lanes are those of every second of eight vectors.
  __m256 two[8], four[4], eight[2];
  const auto vector = [&](int i) {
    const Vector& of = x[i / 8 * 8 + i % 2 * 4 + i % 8 / 2];
    return _mm256_add_ps(of.low, of.high);
  };
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    const __m256 a = vector(2 * i), b = vector(2 * i + 1);
    two[i] = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m256 a = two[2 * i], b = two[2 * i + 1];
    four[i] = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    const __m256 a = four[2 * i], b = four[2 * i + 1];
    eight[i] = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
  }
  return {eight[0], eight[1]};
#endif
}

inline float largest(Vector x) {
  __m256 low, high;
  to_eights(x, &low, &high);
  const __m256 eight = _mm256_max_ps(low, high);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

// Returns e^x within 2 units in the last place for −87.3 ≤ x ≤ 88; below, it returns 0, and NaN of NaN.
//
// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r is a polynomial of the least relative error with e^0 = 1.
inline Vector exponential(Vector x) {
  const Vector shift = repeat(12582912.0f);  // 1.5 · 2^23: what is added to it is rounded to an integer
  const Vector shifted = multiply_add(x, repeat(1.44269504f), shift);
  const Vector n = shifted - shift;
  Vector r = multiply_add(n, repeat(-0.693147182f), x);
  r = multiply_add(n, repeat(1.90465421e-9f), r);
  Vector p = multiply_add(r, repeat(0.008290272206068039f), repeat(0.04189816117286682f));
  p = multiply_add(p, r, repeat(0.1666763871908188f));
  p = multiply_add(p, r, repeat(0.4999914765357971f));
  p = multiply_add(p, r, repeat(0.9999997019767761f));
  p = multiply_add(p, r, repeat(1.0f));
  return scale_or_zero(p, shifted, x, -87.3f);
}

}  // namespace
}  // namespace palmetto
