// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16 -mfma
// Attention with bfloat16 products, two terms at a time.
#include "attention_float.h"
#include "attention_head.h"
#include "attention_pairs.h"

namespace palmetto {
namespace {

struct DotRows : PairRows {
  static void begin() {}
  static void end() {}

  // As in FloatRows.
  static void product(float* c, int64_t stride, int64_t c_panel, const Half* a, int64_t a_stride, const Half* b,
                      int64_t b_panel, int64_t rows, int64_t panels, int64_t depth, bool adds) {
    for (int64_t j = 0; j < panels; j += 2) {
      for (int64_t i = 0; i < rows; i += kTall) {
        block(c + i * stride + j * c_panel, stride, c_panel, a + i * a_stride, a_stride, b + j * b_panel, b_panel,
              depth, adds);
      }
    }
  }

 private:
  static constexpr int kTall = 8;

  static void block(float* c, int64_t stride, int64_t c_panel, const Half* a, int64_t a_stride, const Half* b,
                    int64_t b_panel, int64_t depth, bool adds) {
    __m512 left[kTall], right[kTall];
#pragma GCC unroll 8
    for (int i = 0; i < kTall; i++) {
      left[i] = adds ? _mm512_loadu_ps(c + i * stride) : _mm512_setzero_ps();
      right[i] = adds ? _mm512_loadu_ps(c + i * stride + c_panel) : _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < depth; k += 2) {
      const auto b0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + 16 * k));
      const auto b1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + b_panel + 16 * k));
#pragma GCC unroll 8
      for (int i = 0; i < kTall; i++) {
        int both;
        memcpy(&both, a + i * a_stride + k, 4);
        const auto each = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
        left[i] = _mm512_dpbf16_ps(left[i], each, b0);
        right[i] = _mm512_dpbf16_ps(right[i], each, b1);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kTall; i++) {
      _mm512_storeu_ps(c + i * stride, left[i]);
      _mm512_storeu_ps(c + i * stride + c_panel, right[i]);
    }
  }
};

}  // namespace

const AttentionKernels attention_avx512_bf16 = attention_kernels<DotRows, FloatRows>();

}  // namespace palmetto
