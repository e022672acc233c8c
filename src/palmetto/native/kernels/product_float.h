// The product in float32, for vectors of any width; values of bfloat16 are widened as they are packed.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "product_loop.h"

namespace palmetto {
namespace {

// Returns eight values in float32; `round` rounds them to bfloat16 first.
inline __m256 load_eight(const Matrix& matrix, int64_t offset, bool round) {
  if (!matrix.is_float32) {
    const auto from = reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(matrix.data) + offset);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16));
  }
  const __m256 value = _mm256_loadu_ps(static_cast<const float*>(matrix.data) + offset);
  if (!round) return value;
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
  const __m256 chosen = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), nan);
  return _mm256_and_ps(chosen, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000))));
}

inline void transpose_eight(__m256 rows[8]) {
  __m256 pairs[8], fours[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    rows[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

// Vector has kWidth and the functions load, store, zero, all and fma.
template <typename Vector, int Rows>
struct FloatKernel {
  using Packed = float;
  static constexpr int64_t kRows = Rows, kColumns = 2 * Vector::kWidth, kDepth = 256, kUnit = 1;

  bool round;

  float value(const Matrix& matrix, int64_t offset) const {
    if (!matrix.is_float32) return widen(static_cast<const uint16_t*>(matrix.data)[offset]);
    const float value = static_cast<const float*>(matrix.data)[offset];
    return round ? widen(narrow(value)) : value;
  }

  // Packs `count` lines of a matrix, `stride` apart, side by side: [depth][lines], zeros after the last. Along the
  // depth, values are `along` apart; one of the two is 1.
  void pack(float* to, const Matrix& matrix, int64_t lines, int64_t count, int64_t stride, int64_t depth,
            int64_t along) const {
    const int64_t whole_depth = along == 1 ? depth / 8 * 8 : 0, whole_count = stride == 1 ? count / 8 * 8 : 0;
    for (int64_t k = 0; k < whole_depth; k += 8) {
      for (int64_t i = 0; i < lines; i += 8) {
        __m256 values[8];
        for (int64_t n = 0; n < 8; n++) {
          values[n] = i + n < count ? load_eight(matrix, (i + n) * stride + k, round) : _mm256_setzero_ps();
        }
        transpose_eight(values);
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lines - i)),
                                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        for (int64_t n = 0; n < 8; n++) _mm256_maskstore_ps(to + (k + n) * lines + i, mask, values[n]);
      }
    }
    for (int64_t k = whole_depth; k < depth; k++) {
      float* const step = to + k * lines;
      for (int64_t i = 0; i < whole_count; i += 8) {
        _mm256_storeu_ps(step + i, load_eight(matrix, i + k * along, round));
      }
      for (int64_t i = whole_count; i < count; i++) step[i] = value(matrix, i * stride + k * along);
      for (int64_t i = count; i < lines; i++) step[i] = 0;
    }
  }

  void pack_a(float* to, const Matrix& a, int64_t rows, int64_t depth) const {
    pack(to, a, kRows, rows, a.row, depth, a.column);
  }

  void pack_b(float* to, const Matrix& b, int64_t depth, int64_t columns, int64_t padded) const {
    for (int64_t j = 0; j < columns; j += kColumns) {
      pack(to + j * padded, b.at(0, j), kColumns, least(kColumns, columns - j), b.column, depth, b.row);
    }
  }

  void add(const float* a, const float* b, int64_t depth, float* sums, int64_t stride, bool first) const {
    using V = typename Vector::Type;
    V left[Rows], right[Rows];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; i++) {
      left[i] = first ? Vector::zero() : Vector::load(sums + i * stride);
      right[i] = first ? Vector::zero() : Vector::load(sums + i * stride + Vector::kWidth);
    }
    for (int64_t k = 0; k < depth; k++, a += Rows, b += kColumns) {
      const V b0 = Vector::load(b), b1 = Vector::load(b + Vector::kWidth);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; i++) {
        const V each = Vector::all(a[i]);
        left[i] = Vector::fma(each, b0, left[i]);
        right[i] = Vector::fma(each, b1, right[i]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; i++) {
      Vector::store(sums + i * stride, left[i]);
      Vector::store(sums + i * stride + Vector::kWidth, right[i]);
    }
  }

  void store(const float* sums, int64_t stride, int64_t rows, int64_t columns, void* to, int64_t to_stride,
             bool is_float32) const {
    store_plain(sums, stride, rows, columns, to, to_stride, is_float32);
  }
};

}  // namespace
}  // namespace palmetto
