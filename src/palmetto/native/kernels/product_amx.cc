// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16 -mamx-tile -mamx-bf16 -mfma
// The product of bfloat16 values in tiles of 16 × 16 sums.
#include "product_pairs.h"
#include "tiles.h"

namespace palmetto {
namespace {

struct TileKernel : PairsKernel {
  // Not inlined: the compiler would spread the loop over the code around it.
  __attribute__((noinline)) void add(const uint16_t* a, const uint16_t* b, int64_t depth, float* sums, int64_t stride,
                                     bool first) const {
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      _tile_loadd(0, sums, 4 * stride);
      _tile_loadd(1, sums + 16, 4 * stride);
      _tile_loadd(2, sums + 16 * stride, 4 * stride);
      _tile_loadd(3, sums + 16 * stride + 16, 4 * stride);
    }
    for (int64_t k = 0; k < depth; k += 32, a += 2 * kTile, b += 2 * kTile) {
      _tile_loadd(4, a, 64);
      _tile_loadd(6, b, 64);
      _tile_loadd(7, b + kTile, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, a + kTile, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 4 * stride);
    _tile_stored(1, sums + 16, 4 * stride);
    _tile_stored(2, sums + 16 * stride, 4 * stride);
    _tile_stored(3, sums + 16 * stride + 16, 4 * stride);
  }
};

}  // namespace

void product_amx(const Block& block) {
  configure_tiles();
  multiply(block, TileKernel{});
  _tile_release();
}

}  // namespace palmetto
