// What the parts of products with packed matrices share: the rows, the matrices, and what one thread computes of them.
#pragma once

#include <cstdint>

namespace palmetto {

constexpr int64_t kPanel = 32;     // the number of columns that lie side by side
constexpr int64_t kTogether = 4;   // the number of terms of int8 that lie side by side
constexpr int64_t kInt8Zero = 128; // what is added to a matrix in int8

enum class Packing { kFloat32, kBfloat16, kInt8 };

// The rows of a product that are not zero, which are packed for all of its matrices: in tiles that share the rows
// evenly, one term after the other, or four in int8. Of a row in int8, `scales` has its scale and `offsets` 128 · Σ of
// its values.
struct PackedRows {
  const void* rows;
  const int32_t* numbers;  // which rows they are
  bool is_float32;
  int64_t count, depth, tiles;
  Packing packing;
  void* packed;
  float* scales;
  int32_t* offsets;

  int64_t first(int64_t tile) const { return tile * count / tiles; }
  int64_t deep() const { return packing == Packing::kInt8 ? (depth + kTogether - 1) / kTogether * kTogether : depth; }
  int64_t bytes(int64_t rows) const { return rows * deep() * (packing == Packing::kInt8 ? 1 : 4); }
};

// A packed matrix with its scales in int8, and the result of its product, in the type of the rows.
struct PackedMatrix {
  const char* panels;
  const float* scales;
  int64_t columns;
  void* result;
  bool is_float32;

  int64_t count() const { return (columns + kPanel - 1) / kPanel; }
};

// What an instruction set has: the most rows of a tile, and functions that pack a tile of rows and multiply some tiles
// with one panel. They have the same bits in all sets.
struct PackedKernel {
  int64_t rows;
  void (*pack)(const PackedRows& rows, int64_t tile);
  void (*multiply)(const PackedRows& rows, int64_t begin, int64_t end, const PackedMatrix& matrix, int64_t panel);
};

PackedKernel packed_float_avx2();
PackedKernel packed_float_avx512();
PackedKernel packed_int8_avx2();
PackedKernel packed_int8_avx512_vnni();

}  // namespace palmetto
