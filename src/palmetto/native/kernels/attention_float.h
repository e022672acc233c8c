// Products of attention in float32.
#pragma once

#include "vectors.h"

namespace palmetto {
namespace {

struct FloatRows {
  using Element = float;
  static constexpr int64_t kPair = 1;

  static void begin() {}
  static void end() {}

  static void store_two(float* to, Vector a, Vector b) {
    store(to, a);
    store(to + 16, b);
  }
  static void store_pair(float* to, Vector a, Vector b) { store_two(to, a, b); }

  static void store_pair_and_rows(float* pair, float* row, float* next, Vector a, Vector b) {
    store_two(pair, a, b);
    store(row, a);
    store(next, b);
  }

  // Writes a matrix [rows, columns] as [columns, rows]; both are multiples of 32.
  static void transpose(float* to, const float* from, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i += 16) {
      for (int64_t j = 0; j < columns; j += 16) transpose_tile(to + j * rows + i, rows, from + i * columns + j, columns);
    }
  }

  // Computes c = a·b, or adds it to c, for `rows` rows of a and `panels` panels of b with `depth` terms each; `rows`
  // and `depth` are multiples of 32, and `panels` is even. The rows of a panel of c lie `stride` floats apart.
  static void product(float* c, int64_t stride, int64_t c_panel, const float* a, int64_t a_stride, const float* b,
                      int64_t b_panel, int64_t rows, int64_t panels, int64_t depth, bool adds) {
    for (int64_t j = 0; j < panels; j += kPanels) {
      for (int64_t i = 0; i < rows; i += kTall) {
        block(c + i * stride + j * c_panel, stride, c_panel, a + i * a_stride, a_stride, b + j * b_panel, b_panel,
              depth, adds);
      }
    }
  }

 private:
#ifdef __AVX512F__
  static constexpr int kTall = 8, kPanels = 2;
#else
  static constexpr int kTall = 4, kPanels = 1;
#endif

  static void block(float* c, int64_t stride, int64_t c_panel, const float* a, int64_t a_stride, const float* b,
                    int64_t b_panel, int64_t depth, bool adds) {
    Vector sums[kTall][kPanels];
#pragma GCC unroll 8
    for (int i = 0; i < kTall; i++) {
#pragma GCC unroll 2
      for (int j = 0; j < kPanels; j++) sums[i][j] = adds ? load(c + i * stride + j * c_panel) : repeat(0);
    }
    for (int64_t k = 0; k < depth; k++) {
      Vector columns[kPanels];
#pragma GCC unroll 2
      for (int j = 0; j < kPanels; j++) columns[j] = load(b + j * b_panel + 16 * k);
#pragma GCC unroll 8
      for (int i = 0; i < kTall; i++) {
        const Vector each = repeat(a[i * a_stride + k]);
#pragma GCC unroll 2
        for (int j = 0; j < kPanels; j++) sums[i][j] = multiply_add(each, columns[j], sums[i][j]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kTall; i++) {
#pragma GCC unroll 2
      for (int j = 0; j < kPanels; j++) store(c + i * stride + j * c_panel, sums[i][j]);
    }
  }
};

}  // namespace
}  // namespace palmetto
