// The loops around a kernel that multiplies two small packed panels, for one thread.
#pragma once

#include <cstdint>
#include <cstring>

#include "bfloat16.h"
#include "product.h"
#include "scratch.h"

namespace palmetto {
namespace {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t whole(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Copies a tile of sums into the result, rounding them if it is bfloat16.
inline void store_plain(const float* sums, int64_t stride, int64_t rows, int64_t columns, void* to, int64_t to_stride,
                        bool is_float32) {
  for (int64_t i = 0; i < rows; i++) {
    if (is_float32) {
      memcpy(static_cast<float*>(to) + i * to_stride, sums + i * stride, columns * 4);
    } else {
      uint16_t* row = static_cast<uint16_t*>(to) + i * to_stride;
      for (int64_t j = 0; j < columns; j++) row[j] = narrow(sums[i * stride + j]);
    }
  }
}

// Computes a block: panels of b that fit the second cache, against panels of a that fit the first. The depth is cut
// into passes, between which the sums are kept in float32: whole tiles in the result, if it is float32, and others in
// scratch.
//
// Kernel has the sizes kRows and kColumns of a tile of sums, kDepth of a pass, kUnit to which depths are padded, and
// pack_a for such rows, pack_b for any number of columns, whose panels are a padded depth long, add and store.
template <typename Kernel>
void multiply(const Block& block, const Kernel& kernel) {
  using Packed = typename Kernel::Packed;
  constexpr int64_t R = Kernel::kRows, C = Kernel::kColumns;
  constexpr int64_t kPanelBytes = 832 << 10, kPassRows = 480;
  static thread_local Scratch memory_a, memory_b, memory_sums;
  if (block.rows == 0 || block.columns == 0) return;
  int64_t deepest = 0, passes = 0;
  for (int64_t n = 0; n < block.count; n++) {
    const int64_t depth = block.pairs[n].depth;
    passes += (depth + Kernel::kDepth - 1) / Kernel::kDepth;
    deepest = depth > deepest ? depth : deepest;
  }
  const int64_t depth_of_pass = least(whole(deepest, Kernel::kUnit), Kernel::kDepth);
  const int64_t size = block.is_float32 ? 4 : 2;
  if (passes == 0) {
    for (int64_t i = 0; i < block.rows; i++) {
      memset(static_cast<char*>(block.result) + i * block.stride * size, 0, block.columns * size);
    }
    return;
  }
  const int64_t widest = kPanelBytes / static_cast<int64_t>(sizeof(Packed)) / depth_of_pass;
  const int64_t blocks = (block.columns + widest - 1) / widest, wide = whole((block.columns + blocks - 1) / blocks, C);
  const int64_t tall = passes == 1 ? block.rows : least(kPassRows, block.rows);
  Packed* const a = static_cast<Packed*>(memory_a.take(R * depth_of_pass * sizeof(Packed)));
  Packed* const b = static_cast<Packed*>(memory_b.take(wide * depth_of_pass * sizeof(Packed)));
  float* const kept = static_cast<float*>(memory_sums.take(4 * (passes == 1 ? R * C : whole(tall, R) * wide)));

  for (int64_t left = 0; left < block.columns; left += wide) {
    const int64_t columns = least(wide, block.columns - left);
    for (int64_t top = 0; top < block.rows; top += tall) {
      const int64_t rows = least(tall, block.rows - top);
      int64_t pass = 0;
      for (int64_t n = 0; n < block.count; n++) {
        const Pair& pair = block.pairs[n];
        for (int64_t from = 0; from < pair.depth; from += Kernel::kDepth, pass++) {
          const int64_t depth = least(Kernel::kDepth, pair.depth - from), padded = whole(depth, Kernel::kUnit);
          kernel.pack_b(b, pair.b.at(from, left), depth, columns, padded);
          for (int64_t i = 0; i < rows; i += R) {
            kernel.pack_a(a, pair.a.at(top + i, from), least(R, rows - i), depth);
            for (int64_t j = 0; j < columns; j += C) {
              char* const to = static_cast<char*>(block.result) + ((top + i) * block.stride + left + j) * size;
              const int64_t own_rows = least(R, rows - i), own_columns = least(C, columns - j);
              const bool direct = block.is_float32 && own_rows == R && own_columns == C;
              float* const sums = direct ? reinterpret_cast<float*>(to) : passes == 1 ? kept : kept + i * wide + j;
              const int64_t stride = direct ? block.stride : passes == 1 ? C : wide;
              kernel.add(a, b + j * padded, padded, sums, stride, pass == 0);
              if (direct || pass + 1 < passes) continue;
              kernel.store(sums, stride, own_rows, own_columns, to, block.stride, block.is_float32);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace palmetto
