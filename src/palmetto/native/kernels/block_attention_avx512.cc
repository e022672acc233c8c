// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
#include "block_attention_head.h"

namespace palmetto {

void block_attention_avx512(const BlockAttention& attention, int64_t row, int64_t head, int64_t begin, int64_t end) {
  attend(attention, row, head, begin, end);
}

}  // namespace palmetto
