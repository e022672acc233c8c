// How matrices of bfloat16 are packed for instructions that multiply pairs of them: in tiles of 1 KiB. A tile of a has
// 16 rows of 32 terms; a tile of b has 16 pairs of terms, each for 16 columns. Depths are padded with zeros to 32.
#pragma once

#include <immintrin.h>

#include "product_loop.h"

namespace palmetto {
namespace {

constexpr int64_t kTile = 512;  // the number of values in a tile

// Returns 32 values as bfloat16, of which the first `count` are loaded and the others zero. Denormals that are rounded
// become zeros, as which the products would take them in any case.
inline __m512i load(const Matrix& matrix, int64_t offset, int64_t count) {
  const auto mask = static_cast<__mmask32>(count >= 32 ? 0xffffffffu : (1u << count) - 1);
  if (!matrix.is_float32) {
    return _mm512_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(matrix.data) + offset);
  }
  const float* from = static_cast<const float*>(matrix.data) + offset;
  const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
  const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), from + 16);
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

// Transposes 16 × 16 values of 32 bits.
inline void transpose(__m512i rows[16]) {
  __m512i t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    const __m512i a = _mm512_unpacklo_epi32(rows[i], rows[i + 1]), b = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    const __m512i c = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]);
    const __m512i d = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
    t[i] = _mm512_unpacklo_epi64(a, c);
    t[i + 1] = _mm512_unpackhi_epi64(a, c);
    t[i + 2] = _mm512_unpacklo_epi64(b, d);
    t[i + 3] = _mm512_unpackhi_epi64(b, d);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
    rows[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    rows[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    rows[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
}

// Writes two tiles side by side of 32 lines that lie along the depth: line i is `stride` after line i − 1. As a tile
// of a they are copied, as one of b transposed. Lines from `lines` on are zero.
template <bool kTransposed>
void pack_along(uint16_t* to, const Matrix& matrix, int64_t lines, int64_t stride, int64_t depth) {
  for (int64_t k = 0; k < depth; k += 32, to += 2 * kTile) {
    for (int64_t half = 0; half < 2; half++) {
      __m512i rows[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; i++) {
        const int64_t line = 16 * half + i;
        rows[i] = line < lines ? load(matrix, line * stride + k, depth - k) : _mm512_setzero_si512();
      }
      if (kTransposed) transpose(rows);
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; i++) _mm512_store_si512(to + half * kTile + 32 * i, rows[i]);
    }
  }
}

// Writes two tiles side by side of 32 lines that lie across the depth, whose steps are `stride` apart. As a tile of b
// neighbouring steps become pairs; as one of a, these are transposed besides.
template <bool kTransposed>
void pack_across(uint16_t* to, const Matrix& matrix, int64_t lines, int64_t stride, int64_t depth) {
  alignas(64) static const uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t k = 0; k < depth; k += 32, to += 2 * kTile) {
    __m512i left[16], right[16];
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; i++) {
      const int64_t step = k + 2 * i;
      const __m512i zero = _mm512_setzero_si512();
      const __m512i even = step < depth ? load(matrix, step * stride, lines) : zero;
      const __m512i odd = step + 1 < depth ? load(matrix, (step + 1) * stride, lines) : zero;
      left[i] = _mm512_permutex2var_epi16(even, low, odd);
      right[i] = _mm512_permutex2var_epi16(even, high, odd);
      if (!kTransposed) {
        _mm512_store_si512(to + 32 * i, left[i]);
        _mm512_store_si512(to + kTile + 32 * i, right[i]);
      }
    }
    if (!kTransposed) continue;
    transpose(left);
    transpose(right);
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; i++) {
      _mm512_store_si512(to + 32 * i, left[i]);
      _mm512_store_si512(to + kTile + 32 * i, right[i]);
    }
  }
}

// Copies sums into the result, 16 at a time.
inline void store_sums(const float* sums, int64_t stride, int64_t rows, int64_t columns, void* to, int64_t to_stride,
                       bool is_float32) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j += 16) {
      const int64_t rest = columns - j;
      const auto mask = static_cast<__mmask16>(rest >= 16 ? 0xffff : (1 << rest) - 1);
      const __m512 value = _mm512_loadu_ps(sums + i * stride + j);
      if (is_float32) {
        _mm512_mask_storeu_ps(static_cast<float*>(to) + i * to_stride + j, mask, value);
        continue;
      }
      const auto half = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value));
      _mm256_mask_storeu_epi16(static_cast<uint16_t*>(to) + i * to_stride + j, mask, half);
    }
  }
}

struct PairsKernel {
  using Packed = uint16_t;
  static constexpr int64_t kRows = 32, kColumns = 32, kDepth = 512, kUnit = 32;

  void pack_a(uint16_t* to, const Matrix& a, int64_t rows, int64_t depth) const {
    a.column == 1 ? pack_along<false>(to, a, rows, a.row, depth) : pack_across<true>(to, a, rows, a.column, depth);
  }

  // Rows are read from left to right, which is fastest.
  void pack_b(uint16_t* to, const Matrix& b, int64_t depth, int64_t columns, int64_t padded) const {
    const int64_t step = b.column == 1 ? kUnit : depth;
    for (int64_t k = 0; k < depth; k += step) {
      const int64_t own = least(step, depth - k);
      for (int64_t j = 0; j < columns; j += kColumns) {
        uint16_t* const panel = to + j * padded + k * kColumns;
        const int64_t lines = least(kColumns, columns - j);
        b.column == 1 ? pack_across<false>(panel, b.at(k, j), lines, b.row, own)
                      : pack_along<true>(panel, b.at(k, j), lines, b.column, own);
      }
    }
  }

  void store(const float* sums, int64_t stride, int64_t rows, int64_t columns, void* to, int64_t to_stride,
             bool is_float32) const {
    store_sums(sums, stride, rows, columns, to, to_stride, is_float32);
  }
};

}  // namespace
}  // namespace palmetto
