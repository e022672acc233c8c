// The instruction sets that kernels are written for, smallest first.
#pragma once

namespace palmetto {

enum InstructionSet { kNone = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3, kAmx = 4 };

// The set in use: the largest that the processor and the system allow, and the limit that `palmetto_choose` has set.
InstructionSet instruction_set();

// Whether the processor multiplies and adds int8 in vectors of AVX-512 (VNNI).
bool has_vnni();

// The number of threads that kernels compute on at a time.
int cores();

}  // namespace palmetto
