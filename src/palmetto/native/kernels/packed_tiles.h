// How rows and panels meet, for sums of any kind.
#pragma once

#include <cstdint>

#include "constants.h"
#include "packed.h"
#include "vectors.h"

namespace palmetto {
namespace {

// Writes up to 16 results of a packed row, from column `column` of the whole matrix on.
inline void write(const PackedRows& rows, int64_t row, const PackedMatrix& matrix, int64_t column, Vector values) {
  const int64_t at = rows.numbers[row] * matrix.columns + column, left = matrix.columns - column;
  if (left <= 0) return;
  if (matrix.is_float32) return store_some(static_cast<float*>(matrix.result) + at, values, left);
  store_some(static_cast<Half*>(matrix.result) + at, values, left);
}

inline float at(const PackedRows& rows, int64_t row, int64_t term) {
  const int64_t place = rows.numbers[row] * rows.depth + term;
  return rows.is_float32 ? static_cast<const float*>(rows.rows)[place]
                         : widen(static_cast<const Half*>(rows.rows)[place]);
}

}  // namespace
}  // namespace palmetto
