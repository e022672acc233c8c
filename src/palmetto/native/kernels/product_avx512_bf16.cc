// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16 -mfma
// The product of bfloat16 values, two terms at a time.
#include "product_pairs.h"

namespace palmetto {
namespace {

struct DotKernel : PairsKernel {
  void add(const uint16_t* a, const uint16_t* b, int64_t depth, float* sums, int64_t stride, bool first) const {
    constexpr int kEach = 8;  // rows at a time
    for (int64_t top = 0; top < kRows; top += kEach) {
      const uint16_t* const rows = a + top / 16 * kTile + top % 16 * 32;
      float* const to = sums + top * stride;
      __m512 left[kEach], right[kEach];
#pragma GCC unroll 8
      for (int i = 0; i < kEach; i++) {
        left[i] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(to + i * stride);
        right[i] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(to + i * stride + 16);
      }
      for (int64_t k = 0; k < depth / 32; k++) {
        for (int pair = 0; pair < 16; pair++) {
          const uint16_t* const column = b + 2 * k * kTile + 32 * pair;
          const auto b0 = reinterpret_cast<__m512bh>(_mm512_load_si512(column));
          const auto b1 = reinterpret_cast<__m512bh>(_mm512_load_si512(column + kTile));
#pragma GCC unroll 8
          for (int i = 0; i < kEach; i++) {
            int both;
            memcpy(&both, rows + 2 * k * kTile + 32 * i + 2 * pair, 4);
            const auto each = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
            left[i] = _mm512_dpbf16_ps(left[i], each, b0);
            right[i] = _mm512_dpbf16_ps(right[i], each, b1);
          }
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < kEach; i++) {
        _mm512_storeu_ps(to + i * stride, left[i]);
        _mm512_storeu_ps(to + i * stride + 16, right[i]);
      }
    }
  }
};

}  // namespace

void product_avx512_bf16(const Block& block) { multiply(block, DotKernel{}); }

}  // namespace palmetto
