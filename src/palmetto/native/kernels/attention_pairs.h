// How attention stores exponentials in bfloat16 for instructions that multiply pairs of them.
#pragma once

#include "vectors.h"

namespace palmetto {
namespace {

struct PairRows {
  using Element = Half;
  static constexpr int64_t kPair = 2;

  static void store_two(Half* to, Vector a, Vector b) {
    _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.all, a.all)));
  }

  // Stores (a₀, b₀, a₁, b₁, …).
  static __m512i store_pair(Half* to, Vector a, Vector b) {
    const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.all, a.all));
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, halves));
    return halves;
  }

  static void store_pair_and_rows(Half* pair, Half* row, Half* next, Vector a, Vector b) {
    const __m512i halves = store_pair(pair, a, b);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), _mm512_castsi512_si256(halves));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(next), _mm512_extracti64x4_epi64(halves, 1));
  }

  // As in FloatRows; neighbouring rows become pairs of 32 bits first.
  static void transpose(Half* to, const Half* from, int64_t rows, int64_t columns) {
    alignas(64) float pairs[16 * 16];
    for (int64_t i = 0; i < rows; i += 32) {
      for (int64_t j = 0; j < columns; j += 16) {
        for (int64_t pair = 0; pair < 16; pair++) {
          const Half* const row = from + (i + 2 * pair) * columns + j;
          const __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
          const __m512i odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + columns)));
          _mm512_store_si512(pairs + 16 * pair, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        }
        transpose_tile(reinterpret_cast<float*>(to + j * rows + i), rows / 2, pairs, 16);
      }
    }
  }
};

}  // namespace
}  // namespace palmetto
