// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
#include "packed_float.h"

namespace palmetto {

PackedKernel packed_float_avx512() { return {13, pack_floats, multiply<13, 2>}; }

}  // namespace palmetto
