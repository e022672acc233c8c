// compile with: -mavx2 -mfma
// The product in float32 with vectors of eight.
#include <immintrin.h>

#include "product_float.h"

namespace palmetto {
namespace {

struct Eight {
  using Type = __m256;
  static constexpr int kWidth = 8;
  static Type zero() { return _mm256_setzero_ps(); }
  static Type load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Type value) { _mm256_storeu_ps(to, value); }
  static Type all(float value) { return _mm256_set1_ps(value); }
  static Type fma(Type a, Type b, Type c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace

void product_avx2(const Block& block, bool round) { multiply(block, FloatKernel<Eight, 6>{round}); }

}  // namespace palmetto
