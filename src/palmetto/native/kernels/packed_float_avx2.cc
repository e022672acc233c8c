// compile with: -mavx2 -mfma
#include "packed_float.h"

namespace palmetto {

PackedKernel packed_float_avx2() { return {5, pack_floats, multiply<5, 1>}; }

}  // namespace palmetto
