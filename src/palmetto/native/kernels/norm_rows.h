// Normalization of rows and its derivative, with statistics in float32.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "pointwise.h"
#include "scratch.h"
#include "vectors.h"

namespace palmetto {
namespace {

// Reads `count` values as floats; those after the last, up to a multiple of 16, are zero.
template <typename Value>
void read_row(float* to, const Value* from, int64_t count) {
  const int64_t whole = count / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16) store(to + i, load(from + i));
  if (whole == count) return;
  Value last[16] = {};
  memcpy(last, from + whole, (count - whole) * sizeof(Value));
  store(to + whole, load(last));
}

template <typename Value>
void write_row(Value* to, const float* from, int64_t count) {
  const int64_t whole = count / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16) store(to + i, load(from + i));
  if (whole == count) return;
  Value last[16];
  store(last, load(from + whole));
  memcpy(to + whole, last, (count - whole) * sizeof(Value));
}

// Returns Σ aᵢ·bᵢ over `count` padded floats, in two sums of every second vector.
inline float dot(const float* a, const float* b, int64_t count) {
  Vector even = repeat(0), odd = repeat(0);
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    even = multiply_add(load(a + i), load(b + i), even);
    odd = multiply_add(load(a + i + 16), load(b + i + 16), odd);
  }
  if (i < count) even = multiply_add(load(a + i), load(b + i), even);
  return sum(even + odd);
}

inline float total(const float* a, int64_t count) {
  Vector even = repeat(0), odd = repeat(0);
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    even = even + load(a + i);
    odd = odd + load(a + i + 16);
  }
  if (i < count) even = even + load(a + i);
  return sum(even + odd);
}

// Reads row `row` of x, less its mean if the norm is centred, and returns the factor that normalizes it.
template <typename Value>
float read_centred(const Norm& norm, int64_t row, float* x) {
  const int64_t columns = norm.columns, padded = (columns + 15) / 16 * 16;
  read_row(x, static_cast<const Value*>(norm.x) + row * columns, columns);
  if (norm.centred) {
    const Vector mean = repeat(total(x, padded) / columns);
    for (int64_t i = 0; i < padded; i += 16) store(x + i, first_lanes(load(x + i) - mean, columns - i, repeat(0)));
  }
  return 1 / std::sqrt(dot(x, x, padded) / columns + norm.epsilon);
}

template <typename Value>
void normalize(const Norm& norm, int64_t begin, int64_t end) {
  static thread_local Scratch memory;
  const int64_t padded = (norm.columns + 15) / 16 * 16;
  float* const x = static_cast<float*>(memory.take(4 * padded));
  for (int64_t row = begin; row < end; row++) {
    const Vector factor = repeat(read_centred<Value>(norm, row, x));
    for (int64_t i = 0; i < padded; i += 16) store(x + i, load(x + i) * factor);
    write_row(static_cast<Value*>(norm.result) + row * norm.columns, x, norm.columns);
  }
}

// With y the normalized row: dx = factor · (d − mean(d) − y · mean(d ⊙ y)), without mean(d) if the norm is not centred.
template <typename Value>
void normalize_backward(const Norm& norm, int64_t begin, int64_t end) {
  static thread_local Scratch memory;
  const int64_t columns = norm.columns, padded = (columns + 15) / 16 * 16;
  float* const x = static_cast<float*>(memory.take(8 * padded));
  float* const d = x + padded;
  for (int64_t row = begin; row < end; row++) {
    const float factor = read_centred<Value>(norm, row, x);
    read_row(d, static_cast<const Value*>(norm.d) + row * columns, columns);
    const float along = factor * factor * dot(d, x, padded) / columns;
    const Vector by = repeat(factor), share = repeat(-along);
    const Vector mean = repeat(norm.centred ? total(d, padded) / columns : 0);
    for (int64_t i = 0; i < padded; i += 16) {
      store(x + i, multiply_add(load(x + i), share, load(d + i) - mean) * by);
    }
    write_row(static_cast<Value*>(norm.result) + row * columns, x, columns);
  }
}

}  // namespace
}  // namespace palmetto
