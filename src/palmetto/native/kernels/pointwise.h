// What the parts of the kernels share that compute value by value, or row by row.
#pragma once

#include <cstdint>

namespace palmetto {

// Rows of logits, and what the cross-entropy of each with its target makes of them.
struct Scores {
  const float* scores;
  int64_t columns;
  const int32_t* targets;
  const float* weights;
  float z_loss;
  // The derivatives of the loss with respect to the logits, in the type of the other activations.
  void* gradient;
  // The cross-entropy and log² Z of each row.
  float *losses, *squares;
};

// Each function takes values, or rows, from `begin` up to `end`.
template <typename Value>
struct PointwiseOf {
  void (*swiglu)(const Value* gate, const Value* up, Value* inner, int64_t begin, int64_t end);
  void (*swiglu_backward)(const Value* gate, const Value* up, const Value* d, Value* dgate, Value* dup, int64_t begin,
                          int64_t end);
  void (*cross_entropy)(const Scores& rows, int64_t begin, int64_t end);
};

struct Pointwise {
  PointwiseOf<float> of_float32;
  PointwiseOf<uint16_t> of_bfloat16;
};

extern const Pointwise pointwise_avx2, pointwise_avx512;

}  // namespace palmetto
