// What the parts of the kernels share that compute value by value, or row by row.
#pragma once

#include <cstdint>

#include "cpu.h"

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

// Rows to normalize: to mean square 1, and to mean 0 if they are centred.
struct Norm {
  const void *x, *d;  // d: the derivative with respect to the normalized rows
  void* result;
  int64_t columns;
  bool centred;
  float epsilon;
};

// Queries, keys and values of tokens, together and apart, and the angles by which queries and keys are turned.
struct Turn {
  void *together, *q, *k, *v;
  int64_t heads, shared, size;
  // The angles of `length` positions, [.., length, size / 2]; each such block holds for `tokens_of_angles` tokens.
  const float *cosines, *sines;
  int64_t length, tokens_of_angles;
  // Whether they are put together and turned back.
  bool back;
};

// A parameter and its moments before and after an update, which may be the same memory.
struct Update {
  const float *gradient, *parameter, *m, *v;
  float *new_parameter, *new_m, *new_v;
  const float* settings;
};

// Each function takes values, or rows, from `begin` up to `end`.
template <typename Value>
struct PointwiseOf {
  void (*swiglu)(const Value* gate, const Value* up, Value* inner, int64_t begin, int64_t end);
  void (*swiglu_backward)(const Value* gate, const Value* up, const Value* d, Value* dgate, Value* dup, int64_t begin,
                          int64_t end);
  void (*cross_entropy)(const Scores& rows, int64_t begin, int64_t end);
  void (*normalize)(const Norm& norm, int64_t begin, int64_t end);
  void (*normalize_backward)(const Norm& norm, int64_t begin, int64_t end);
  void (*turn)(const Turn& turn, int64_t begin, int64_t end);
};

struct Pointwise {
  // `scale` is that of the matrix in which the values lie.
  void (*adafactor)(const Update& update, int64_t begin, int64_t end, float scale);
  void (*adamw)(const Update& update, int64_t begin, int64_t end, float scale);
  // Writes the logarithm of the sum of the exponentials of each row of scores.
  void (*log_sum)(const float* scores, int64_t columns, float* result, int64_t begin, int64_t end);
  // Writes the place of the largest score of each row, of equals the first, or of the first NaN.
  void (*largest)(const float* scores, int64_t columns, int32_t* result, int64_t begin, int64_t end);
  PointwiseOf<float> of_float32;
  PointwiseOf<uint16_t> of_bfloat16;
};

extern const Pointwise pointwise_avx2, pointwise_avx512;

inline const Pointwise& pointwise() { return instruction_set() >= kAvx512 ? pointwise_avx512 : pointwise_avx2; }

}  // namespace palmetto
