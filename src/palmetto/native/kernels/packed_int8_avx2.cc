// compile with: -mavx2 -mfma
#include "packed_int8.h"

namespace palmetto {
namespace {

struct Kernel {
  static constexpr int kRows = 4;
  static constexpr int64_t kColumns = 16;
  static constexpr bool kOffset = false;

  // The instruction adds pairs in 16 bits, into which two products of magnitudes up to 127 fit.
  template <int kHeight>
  static void add(const int8_t* a, const uint8_t* b, int64_t deep, int32_t* to) {
    const __m256i ones = _mm256_set1_epi16(1), zero = _mm256_set1_epi8(static_cast<char>(kInt8Zero));
    __m256i sums[kHeight][2];
#pragma GCC unroll 4
    for (int row = 0; row < kHeight; row++) sums[row][0] = sums[row][1] = _mm256_setzero_si256();
    for (int64_t k = 0; k < deep; k += kTogether, a += kTogether * kHeight, b += kTogether * kPanel) {
      __m256i columns[2];
      for (int j = 0; j < 2; j++) {
        columns[j] = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + 32 * j)), zero);
      }
#pragma GCC unroll 4
      for (int row = 0; row < kHeight; row++) {
        int four;
        memcpy(&four, a + kTogether * row, 4);
        const __m256i each = _mm256_set1_epi32(four), size = _mm256_abs_epi8(each);
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
          const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(columns[j], each));
          sums[row][j] = _mm256_add_epi32(sums[row][j], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    for (int row = 0; row < kHeight; row++) {
      for (int j = 0; j < 2; j++) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + kColumns * row + 8 * j), sums[row][j]);
      }
    }
  }
};

}  // namespace

PackedKernel packed_int8_avx2() { return {Kernel::kRows, pack_int8, multiply_int8<Kernel>}; }

}  // namespace palmetto
