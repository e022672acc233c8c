// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
// Attention in float32, to which bfloat16 values are widened.
#include "attention_float.h"
#include "attention_head.h"

namespace palmetto {

const AttentionKernels attention_avx512 = attention_kernels<FloatRows, FloatRows>();

}  // namespace palmetto
