// compile with: -mavx2 -mfma
// Attention in float32, to which bfloat16 values are widened.
#include "attention_float.h"
#include "attention_head.h"

namespace palmetto {

const AttentionKernels attention_avx2 = attention_kernels<FloatRows, FloatRows>();

}  // namespace palmetto
