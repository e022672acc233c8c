// Products with packed matrices in float32: one fused multiply–add a term, in the order of their index.
#pragma once

#include "bfloat16.h"
#include "packed_tiles.h"

namespace palmetto {
namespace {

inline void pack_floats(const PackedRows& rows, int64_t tile) {
  const int64_t first = rows.first(tile), height = rows.first(tile + 1) - first;
  float* const to = static_cast<float*>(rows.packed) + first * rows.depth;
  for (int64_t row = 0; row < height; row++) {
    for (int64_t term = 0; term < rows.depth; term++) to[term * height + row] = at(rows, first + row, term);
  }
}

// Adds up kRows rows with 16 · kVectors columns of a panel.
template <int kRows, int kVectors, typename Value>
void add_floats(const float* a, const Value* b, int64_t depth, Vector (&sums)[kRows][kVectors]) {
  Vector own[kRows][kVectors];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; row++) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; j++) own[row][j] = repeat(0);
  }
  for (int64_t term = 0; term < depth; term++, a += kRows, b += kPanel) {
    Vector column[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; j++) column[j] = load(b + 16 * j);
#pragma GCC unroll 16
    for (int row = 0; row < kRows; row++) {
      const Vector each = repeat(a[row]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; j++) own[row][j] = multiply_add(each, column[j], own[row][j]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; row++) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; j++) sums[row][j] = own[row][j];
  }
}

template <int kMost, int kVectors, typename Value>
void multiply_floats(const PackedRows& rows, int64_t begin, int64_t end, const PackedMatrix& matrix, int64_t panel) {
  const Value* const values = reinterpret_cast<const Value*>(matrix.panels) + panel * rows.depth * kPanel;
  for (int64_t tile = begin; tile < end; tile++) {
    const int64_t first = rows.first(tile);
    const float* const a = static_cast<const float*>(rows.packed) + first * rows.depth;
    with_constant<kMost>(rows.first(tile + 1) - first, [&](auto height) {
      for (int64_t left = 0; left < kPanel; left += 16 * kVectors) {
        Vector sums[height][kVectors];
        add_floats<height, kVectors>(a, values + left, rows.depth, sums);
        for (int row = 0; row < height; row++) {
          for (int j = 0; j < kVectors; j++) {
            write(rows, first + row, matrix, panel * kPanel + left + 16 * j, sums[row][j]);
          }
        }
      }
    });
  }
}

template <int kMost, int kVectors>
void multiply(const PackedRows& rows, int64_t begin, int64_t end, const PackedMatrix& matrix, int64_t panel) {
  return rows.packing == Packing::kFloat32
             ? multiply_floats<kMost, kVectors, float>(rows, begin, end, matrix, panel)
             : multiply_floats<kMost, kVectors, Half>(rows, begin, end, matrix, panel);
}

}  // namespace
}  // namespace palmetto
