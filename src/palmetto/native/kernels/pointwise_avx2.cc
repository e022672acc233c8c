// compile with: -mavx2 -mfma
#include "pointwise_rows.h"

namespace palmetto {

const Pointwise pointwise_avx2 = {adafactor, adamw, log_sum, largest, pointwise_of<float>(), pointwise_of<uint16_t>()};

}  // namespace palmetto
