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

#ifdef __AVX512BF16__

// The instruction takes denormals for zeros.
inline void store(Half* to, Vector x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.all)));
}

#else

inline void store(Half* to, Vector x) {
  __m256 low, high;
  to_eights(x, &low, &high);
  const __m256i mixed = _mm256_packus_epi32(rounded(low), rounded(high));  // 128-bit lanes: low, high, low, high
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(mixed, 0xd8));
}

#endif

// Returns the sum of the lanes, added in halves.
inline float sum(Vector x) {
  __m256 low, high;
  to_eights(x, &low, &high);
  const __m256 eight = _mm256_add_ps(low, high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
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
