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
  static void store_pair(Half* to, Vector a, Vector b) {
    const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.all, a.all));
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, halves));
  }
};

}  // namespace
}  // namespace palmetto
