// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
// The product in float32 with vectors of sixteen.
#include <immintrin.h>

#include "product_float.h"

namespace palmetto {
namespace {

struct Sixteen {
  using Type = __m512;
  static constexpr int kWidth = 16;
  static Type zero() { return _mm512_setzero_ps(); }
  static Type load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Type value) { _mm512_storeu_ps(to, value); }
  static Type all(float value) { return _mm512_set1_ps(value); }
  static Type fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace

void product_avx512(const Block& block, bool round) { multiply(block, FloatKernel<Sixteen, 12>{round}); }

}  // namespace palmetto
