// What the parts of attention share: its operands, and what one thread computes of it.
#pragma once

#include <cstdint>

namespace palmetto {

// Causal attention of `sequences` sequences with `heads` key/value heads, each shared by `group` query heads.
// q, output, d and dq are [sequences, length, heads, group, size]; k, v, dk and dv [sequences, length, heads, size].
struct Attention {
  int64_t sequences, length, heads, group, size;
  bool is_float32;
  const void *q, *k, *v;
  // The first key that each position sees, [sequences, length]: at most its own, and never less than that of the
  // position before it.
  const int32_t* first;
  // For each row (position · group + query head) of each key/value head, the largest score and 1 / the sum of
  // exponentials: [sequences, heads, length · group, 2].
  float* statistics;
  void* output;
  // The derivative with respect to the output, and those with respect to q, k and v.
  const void* d;
  void *dq, *dk, *dv;

  // The number of parts in which the rows are summed for dk and dv, which the bits depend on.
  int64_t parts() const {
    const int64_t blocks = length * group / 512;
    return blocks < 1 ? 1 : blocks < 4 ? blocks : 4;
  }

  // The number of floats in the sums of one key/value head: dk and dv, transposed and padded.
  int64_t sums() const { return 2 * padded(length) * padded(size); }

  static int64_t padded(int64_t count) { return (count + 31) / 32 * 32; }
};

// The functions of one instruction set. `head` counts the key/value heads of all sequences.
struct AttentionKernels {
  // Computes the rows of every part p ≡ part (mod parts) of a head.
  void (*forward)(const Attention& attention, int64_t head, int64_t part, int64_t parts);
  // Computes dq of parts first … first + count − 1, and the sums for dk and dv of the same, in the order of parts.
  void (*backward)(const Attention& attention, int64_t head, int64_t first, int64_t count, float* sums);
  // Adds `count` sums, one after the other in memory, and writes dk and dv of a head.
  void (*finish)(const Attention& attention, int64_t head, int64_t count, float* sums);
};

extern const AttentionKernels attention_avx2, attention_avx512, attention_avx512_bf16, attention_amx;

}  // namespace palmetto
