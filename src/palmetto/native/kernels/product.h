// What the parts of the matrix product share: a product's operands, and the blocks that one thread computes.
#pragma once

#include <cstdint>

namespace palmetto {

// A matrix of bfloat16 or float32 values in memory. One of the two strides, in elements, is 1.
struct Matrix {
  const void* data;
  int64_t row, column;
  bool is_float32;

  Matrix at(int64_t i, int64_t j) const {
    const int64_t offset = (i * row + j * column) * (is_float32 ? 4 : 2);
    return {static_cast<const char*>(data) + offset, row, column, is_float32};
  }
};

struct Pair {
  Matrix a, b;
  int64_t depth;
};

// A block of a sum of products a·b, with its result in rows `stride` elements apart.
struct Block {
  const Pair* pairs;
  int64_t count;
  int64_t rows, columns;
  void* result;
  int64_t stride;
  bool is_float32;
};

// Each computes a block on the calling thread. An element's terms are added in the order of the pairs and their index,
// so that its bits do not depend on how a product is cut into blocks.
// In float32, one fused multiply–add a term: the two have the same bits. `round` rounds operands to bfloat16 first.
void product_avx2(const Block& block, bool round);
void product_avx512(const Block& block, bool round);
// In bfloat16, to which float32 operands are rounded. Both add two terms at a time and take denormals for zeros.
void product_avx512_bf16(const Block& block);
void product_amx(const Block& block);

}  // namespace palmetto
