// The product in float32, for vectors of any width; values of bfloat16 are widened as they are packed.
#pragma once

#include <cstdint>

#include "product_loop.h"

namespace palmetto {
namespace {

// Vector has kWidth and the functions load, store, zero, all and fma.
template <typename Vector, int Rows>
struct FloatKernel {
  using Packed = float;
  static constexpr int64_t kRows = Rows, kColumns = 2 * Vector::kWidth, kDepth = 256, kUnit = 1;

  bool round;

  float value(const Matrix& matrix, int64_t offset) const {
    if (!matrix.is_float32) return widen(static_cast<const uint16_t*>(matrix.data)[offset]);
    const float value = static_cast<const float*>(matrix.data)[offset];
    return round ? widen(narrow(value)) : value;
  }

  // Packs `count` lines of a matrix, `stride` apart, side by side: [depth][lines], zeros after the last.
  void pack(float* to, const Matrix& matrix, int64_t lines, int64_t count, int64_t stride, int64_t depth,
            int64_t along) const {
    if (stride == 1) {
      for (int64_t k = 0; k < depth; k++) {
        for (int64_t i = 0; i < count; i++) to[k * lines + i] = value(matrix, k * along + i);
        for (int64_t i = count; i < lines; i++) to[k * lines + i] = 0;
      }
      return;
    }
    for (int64_t i = 0; i < count; i++) {
      for (int64_t k = 0; k < depth; k++) to[k * lines + i] = value(matrix, i * stride + k * along);
    }
    for (int64_t i = count; i < lines; i++) {
      for (int64_t k = 0; k < depth; k++) to[k * lines + i] = 0;
    }
  }

  void pack_a(float* to, const Matrix& a, int64_t rows, int64_t depth) const {
    pack(to, a, kRows, rows, a.row, depth, a.column);
  }

  void pack_b(float* to, const Matrix& b, int64_t depth, int64_t columns, int64_t padded) const {
    for (int64_t j = 0; j < columns; j += kColumns) {
      pack(to + j * padded, b.at(0, j), kColumns, least(kColumns, columns - j), b.column, depth, b.row);
    }
  }

  void add(const float* a, const float* b, int64_t depth, float* sums, int64_t stride, bool first) const {
    using V = typename Vector::Type;
    V left[Rows], right[Rows];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; i++) {
      left[i] = first ? Vector::zero() : Vector::load(sums + i * stride);
      right[i] = first ? Vector::zero() : Vector::load(sums + i * stride + Vector::kWidth);
    }
    for (int64_t k = 0; k < depth; k++, a += Rows, b += kColumns) {
      const V b0 = Vector::load(b), b1 = Vector::load(b + Vector::kWidth);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; i++) {
        const V each = Vector::all(a[i]);
        left[i] = Vector::fma(each, b0, left[i]);
        right[i] = Vector::fma(each, b1, right[i]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; i++) {
      Vector::store(sums + i * stride, left[i]);
      Vector::store(sums + i * stride + Vector::kWidth, right[i]);
    }
  }

  void store(const float* sums, int64_t stride, int64_t rows, int64_t columns, void* to, int64_t to_stride,
             bool is_float32) const {
    store_plain(sums, stride, rows, columns, to, to_stride, is_float32);
  }
};

}  // namespace
}  // namespace palmetto
