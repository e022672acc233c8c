// Kernels that compute value by value, in float32 and rounded once at the end, with the same bits in AVX2 and AVX-512.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "norm_rows.h"
#include "optimizer_rows.h"
#include "pointwise.h"
#include "scratch.h"
#include "turn_rows.h"
#include "vectors.h"

namespace palmetto {
namespace {

inline Vector sigmoid(Vector x) {
  const Vector bounded = larger(repeat(-87.0f), x);  // NaN stays NaN
  return repeat(1.0f) / (repeat(1.0f) + exponential(repeat(0.0f) - bounded));
}

// Calls body(i) for every 16th place; the last, incomplete, 16 values go through arrays of their own.
template <typename Value, int kIn, int kOut, typename Body>
void by_sixteen(const Value* const (&in)[kIn], Value* const (&out)[kOut], int64_t begin, int64_t end,
                const Body& body) {
  int64_t i = begin;
  for (; i + 16 <= end; i += 16) {
    const Value* from[kIn];
    Value* to[kOut];
    for (int n = 0; n < kIn; n++) from[n] = in[n] + i;
    for (int n = 0; n < kOut; n++) to[n] = out[n] + i;
    body(from, to);
  }
  if (i == end) return;
  Value padded[kIn][16] = {}, results[kOut][16];
  const Value* from[kIn];
  Value* to[kOut];
  for (int n = 0; n < kIn; n++) {
    memcpy(padded[n], in[n] + i, (end - i) * sizeof(Value));
    from[n] = padded[n];
  }
  for (int n = 0; n < kOut; n++) to[n] = results[n];
  body(from, to);
  for (int n = 0; n < kOut; n++) memcpy(out[n] + i, results[n], (end - i) * sizeof(Value));
}

template <typename Value>
void swiglu(const Value* gate, const Value* up, Value* inner, int64_t begin, int64_t end) {
  by_sixteen<Value, 2, 1>({gate, up}, {inner}, begin, end, [](const Value* const* from, Value* const* to) {
    const Vector g = load(from[0]);
    store(to[0], g * sigmoid(g) * load(from[1]));
  });
}

template <typename Value>
void swiglu_backward(const Value* gate, const Value* up, const Value* d, Value* dgate, Value* dup, int64_t begin,
                     int64_t end) {
  by_sixteen<Value, 3, 2>({gate, up, d}, {dgate, dup}, begin, end, [](const Value* const* from, Value* const* to) {
    const Vector g = load(from[0]), u = load(from[1]), own = load(from[2]), s = sigmoid(g), one = repeat(1.0f);
    store(to[0], own * u * s * multiply_add(g, one - s, one));
    store(to[1], own * g * s);
  });
}

// The softmax of one row of scores: `exponentials` of their differences from the largest, the `total` of these, and the
// logarithm of the sum of the scores' own exponentials.
struct Softmax {
  float* exponentials;
  float total, log_z;

  Softmax(const float* scores, int64_t columns) {
    static thread_local Scratch memory;
    const int64_t whole = columns / 16 * 16;
    exponentials = static_cast<float*>(memory.take(4 * (whole + 16)));
    float last[16];
    memcpy(last, scores + whole, 4 * (columns - whole));
    const Vector rest = first_lanes(load(last), columns - whole, repeat(-INFINITY));
    Vector highest = rest;
    for (int64_t j = 0; j < whole; j += 16) highest = larger(highest, load(scores + j));
    const float most = largest(highest);
    const Vector shift = repeat(most);
    Vector sums = exponential(rest - shift);
    store(exponentials + whole, sums);
    for (int64_t j = 0; j < whole; j += 16) {
      const Vector each = exponential(load(scores + j) - shift);
      store(exponentials + j, each);
      sums = sums + each;
    }
    total = sum(sums);
    log_z = most + static_cast<float>(std::log(static_cast<double>(total)));
  }
};

inline void log_sum(const float* scores, int64_t columns, float* result, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) result[row] = Softmax(scores + row * columns, columns).log_z;
}

// Returns a whole number that is larger for larger scores, and the largest for NaN.
inline int32_t order(float score) {
  const float unsigned_zero = score + 0.0f;
  int32_t bits;
  memcpy(&bits, &unsigned_zero, 4);
  const int32_t number = bits ^ (bits >> 31 & 0x7fffffff);
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : number;
}

inline void largest(const float* scores, int64_t columns, int32_t* result, int64_t begin, int64_t end) {
  constexpr int64_t kAtOnce = 256;
  for (int64_t row = begin; row < end; row++) {
    const float* const own = scores + row * columns;
    int32_t most = order(own[0]);
    int64_t from = 0;  // where the first of the largest is found
    for (int64_t i = 0; i < columns; i += kAtOnce) {
      const int64_t stop = i + kAtOnce < columns ? i + kAtOnce : columns;
      int32_t here = INT32_MIN;
      for (int64_t j = i; j < stop; j++) here = order(own[j]) > here ? order(own[j]) : here;
      if (here > most) most = here, from = i;
    }
    while (order(own[from]) != most) from++;
    result[row] = static_cast<int32_t>(from);
  }
}

template <typename Value>
void cross_entropy(const Scores& rows, int64_t begin, int64_t end) {
  const int64_t columns = rows.columns, whole = columns / 16 * 16;
  for (int64_t row = begin; row < end; row++) {
    const float* const scores = rows.scores + row * columns;
    const Softmax softmax(scores, columns);
    const float* const exponentials = softmax.exponentials;
    const float log_z = softmax.log_z;
    const float weight = rows.weights[row];
    const int64_t target = rows.targets[row];
    Value* const gradient = static_cast<Value*>(rows.gradient) + row * columns;
    if (target < 0 || target >= columns) {  // no such token: NaN, so that the step is not applied
      rows.losses[row] = rows.squares[row] = NAN;
      memset(gradient, 0, columns * sizeof(Value));
      continue;
    }
    rows.losses[row] = (log_z - scores[target]) * weight;
    rows.squares[row] = log_z * log_z * weight;
    const float factor = (1 + 2 * rows.z_loss * log_z) / softmax.total;
    Value of_target[16];
    store(of_target, repeat((exponentials[target] * factor - 1) * weight));
    const Vector by = repeat(factor * weight);
    for (int64_t j = 0; j < whole; j += 16) store(gradient + j, load(exponentials + j) * by);
    Value end_of_row[16];
    store(end_of_row, load(exponentials + whole) * by);
    memcpy(gradient + whole, end_of_row, (columns - whole) * sizeof(Value));
    gradient[target] = of_target[0];
  }
}

template <typename Value>
constexpr PointwiseOf<Value> pointwise_of() {
  return {swiglu<Value>,    swiglu_backward<Value>,    cross_entropy<Value>,
          normalize<Value>, normalize_backward<Value>, turn<Value>};
}

}  // namespace
}  // namespace palmetto
