// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni -mfma
#include "packed_int8.h"

namespace palmetto {
namespace {

struct Kernel {
  static constexpr int kRows = 13;
  static constexpr int64_t kColumns = kPanel;
  static constexpr bool kOffset = true;

  template <int kHeight>
  static void add(const int8_t* a, const uint8_t* b, int64_t deep, int32_t* to) {
    __m512i sums[kHeight][2];
#pragma GCC unroll 16
    for (int row = 0; row < kHeight; row++) sums[row][0] = sums[row][1] = _mm512_setzero_si512();
    for (int64_t k = 0; k < deep; k += kTogether, a += kTogether * kHeight, b += kTogether * kPanel) {
      const __m512i left = _mm512_loadu_si512(b), right = _mm512_loadu_si512(b + 64);
#pragma GCC unroll 16
      for (int row = 0; row < kHeight; row++) {
        int four;
        memcpy(&four, a + kTogether * row, 4);
        const __m512i each = _mm512_set1_epi32(four);
        sums[row][0] = _mm512_dpbusd_epi32(sums[row][0], left, each);
        sums[row][1] = _mm512_dpbusd_epi32(sums[row][1], right, each);
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kHeight; row++) {
      _mm512_storeu_si512(to + kPanel * row, sums[row][0]);
      _mm512_storeu_si512(to + kPanel * row + 16, sums[row][1]);
    }
  }
};

}  // namespace

PackedKernel packed_int8_avx512_vnni() { return {Kernel::kRows, pack_int8, multiply_int8<Kernel>}; }

}  // namespace palmetto
