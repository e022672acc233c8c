// The attention of one key/value head, as the parts of an instruction set.
#pragma once

#include "attention_backward.h"
#include "attention_forward.h"

namespace palmetto {
namespace {

// The functions of a Kernel for bfloat16, and of FloatKernel for float32.
template <typename Kernel, typename FloatKernel>
constexpr AttentionKernels attention_kernels() {
  return {
      [](const Attention& attention, int64_t head, int64_t part, int64_t parts) {
        if (attention.is_float32) return HeadForward<FloatKernel, float>(attention, head).compute(part, parts);
        Kernel::begin();
        HeadForward<Kernel, Half>(attention, head).compute(part, parts);
        Kernel::end();
      },
      [](const Attention& attention, int64_t head, int64_t first, int64_t count, float* sums) {
        if (attention.is_float32) return HeadBackward<FloatKernel, float>(attention, head).compute(first, count, sums);
        Kernel::begin();
        HeadBackward<Kernel, Half>(attention, head).compute(first, count, sums);
        Kernel::end();
      },
      [](const Attention& attention, int64_t head, int64_t count, float* sums) {
        if (attention.is_float32) return HeadBackward<FloatKernel, float>(attention, head).finish(count, sums);
        HeadBackward<Kernel, Half>(attention, head).finish(count, sums);
      },
  };
}

}  // namespace
}  // namespace palmetto
