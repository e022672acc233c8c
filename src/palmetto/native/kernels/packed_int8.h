// Products with packed matrices in int8, whose sums are whole numbers and so the same in any order.
#pragma once

#include <cstring>

#include "bfloat16.h"
#include "packed_tiles.h"
#include "scratch.h"

namespace palmetto {
namespace {

constexpr float kLargest = 127;
constexpr uint32_t kInfinity = 0x7f800000;

inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

// Rounds rows to int8, nearest even, with the largest magnitude over 127 as the scale. A row that is not finite gets
// NaN for its scale.
inline void pack_int8(const PackedRows& rows, int64_t tile) {
  static thread_local Scratch memory;
  const int64_t first = rows.first(tile), height = rows.first(tile + 1) - first, depth = rows.depth, deep = rows.deep();
  float* const row = static_cast<float*>(memory.take(5 * deep));
  int8_t* const whole = reinterpret_cast<int8_t*>(row + deep);
  int8_t* const to = static_cast<int8_t*>(rows.packed) + first * deep;
  for (int64_t i = 0; i < height; i++) {
    for (int64_t k = 0; k < depth; k++) row[k] = at(rows, first + i, k);
    for (int64_t k = depth; k < deep; k++) row[k] = 0;
    uint32_t most = 0;
    for (int64_t k = 0; k < deep; k++) {
      const uint32_t size = bits_of(row[k]) & 0x7fffffff;
      most = size > most ? size : most;
    }
    float largest;
    memcpy(&largest, &most, 4);
    const bool finite = most < kInfinity;
    const float factor = finite && kLargest / largest < __builtin_inff() ? kLargest / largest : 0;
    const float shift = 12582912;  // 1.5 · 2^23: what is added to it is rounded to an integer
    int32_t sum = 0;
    for (int64_t k = 0; k < deep; k++) {
      const float shifted = row[k] * factor + shift;
      const int32_t value = finite ? static_cast<int32_t>(bits_of(shifted) - bits_of(shift)) : 0;
      whole[k] = static_cast<int8_t>(value);
      sum += value;
    }
    rows.scales[first + i] = !finite ? __builtin_nanf("") : factor == 0 ? 0 : largest / kLargest;
    rows.offsets[first + i] = static_cast<int32_t>(kInt8Zero) * sum;
    for (int64_t k = 0; k < deep; k += kTogether) memcpy(to + k * height + i * kTogether, whole + k, kTogether);
  }
}

// Kernel has kRows, the most rows of a tile, kColumns, how many columns it adds up at a time, kOffset, whether sums are
// those with the matrix plus 128, and add, which writes the sums of rows · columns.
template <typename Kernel>
void multiply_int8(const PackedRows& rows, int64_t begin, int64_t end, const PackedMatrix& matrix, int64_t panel) {
  const int64_t deep = rows.deep();
  const uint8_t* const values = reinterpret_cast<const uint8_t*>(matrix.panels) + panel * deep * kPanel;
  for (int64_t tile = begin; tile < end; tile++) {
    const int64_t first = rows.first(tile);
    const int8_t* const a = static_cast<const int8_t*>(rows.packed) + first * deep;
    with_constant<Kernel::kRows>(rows.first(tile + 1) - first, [&](auto height) {
      for (int64_t left = 0; left < kPanel; left += Kernel::kColumns) {
        int32_t sums[height * Kernel::kColumns];
        Kernel::template add<height>(a, values + left * kTogether, deep, sums);
        for (int row = 0; row < height; row++) {
          const int32_t offset = Kernel::kOffset ? rows.offsets[first + row] : 0;
          const Vector scale = repeat(rows.scales[first + row]);
          for (int64_t j = 0; j < Kernel::kColumns; j += 16) {
            const int64_t column = panel * kPanel + left + j;
            float exact[16];
            for (int n = 0; n < 16; n++) exact[n] = static_cast<float>(sums[row * Kernel::kColumns + j + n] - offset);
            write(rows, first + row, matrix, column, load(exact) * load(matrix.scales + column) * scale);
          }
        }
      }
    });
  }
}

}  // namespace
}  // namespace palmetto
