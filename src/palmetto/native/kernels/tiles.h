// The shape of AMX's tiles: all eight are 16 rows of 64 bytes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace palmetto {
namespace {

struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_of_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

inline void configure_tiles() {
  // In constant memory: some compilers believe that only its first bytes are read, and would drop stores to the others.
  static constexpr TileConfiguration configuration{};
  _tile_loadconfig(&configuration);
}

}  // namespace
}  // namespace palmetto
