// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
#include "pointwise_rows.h"

namespace palmetto {

const Pointwise pointwise_avx512 = {adafactor, adamw, log_sum, largest, pointwise_of<float>(), pointwise_of<uint16_t>()};

}  // namespace palmetto
