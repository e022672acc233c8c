// What the parts of attention over blocks share: its operands, and what one thread computes of it.
#pragma once

#include <cstdint>

namespace palmetto {

// Attention of `rows` queries, each of `heads · group` heads, to the keys and values of its sequence. q and output are
// [rows, heads, group, size]; keys and values are [blocks, heads, positions, size].
struct BlockAttention {
  int64_t rows, heads, group, size, positions;
  bool is_float32;
  const void *q, *keys, *values;
  void* output;
  // For each sequence, the blocks that hold it and the position that each begins with: [sequences, entries].
  const int32_t *tables, *starts;
  int64_t entries;
  // For each row, its sequence, and what it sees: positions below `end` that are below `kept` or at least `first`.
  const int32_t *sequences, *kept, *first, *end;
};

// Each computes query heads begin … end − 1 of one key/value head for one row. They have the same bits.
void block_attention_avx2(const BlockAttention& attention, int64_t row, int64_t head, int64_t begin, int64_t end);
void block_attention_avx512(const BlockAttention& attention, int64_t row, int64_t head, int64_t begin, int64_t end);

}  // namespace palmetto
