// compile with: -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16 -mamx-tile -mamx-bf16 -mfma
// Attention with bfloat16 products in tiles of 16 × 16 sums.
#include "attention_float.h"
#include "attention_head.h"
#include "attention_pairs.h"
#include "tiles.h"

namespace palmetto {
namespace {

struct TileRows : PairRows {
  static void begin() { configure_tiles(); }
  static void end() { _tile_release(); }

  // As in FloatRows.
  static void product(float* c, int64_t stride, int64_t c_panel, const Half* a, int64_t a_stride, const Half* b,
                      int64_t b_panel, int64_t rows, int64_t panels, int64_t depth, bool adds) {
    asm volatile("" ::: "memory");  // tiles are loaded from what was stored before, of which the compiler knows nothing
    for (int64_t j = 0; j < panels; j += 2) {
      for (int64_t i = 0; i < rows; i += 32) {
        float* const to = c + i * stride + j * c_panel;
        const Half* const left = a + i * a_stride;
        const Half* const right = b + j * b_panel;
        if (adds) {
          _tile_loadd(0, to, 4 * stride);
          _tile_loadd(1, to + c_panel, 4 * stride);
          _tile_loadd(2, to + 16 * stride, 4 * stride);
          _tile_loadd(3, to + 16 * stride + c_panel, 4 * stride);
        } else {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        }
        for (int64_t k = 0; k < depth; k += 32) {
          _tile_loadd(4, left + k, 2 * a_stride);
          _tile_loadd(6, right + 16 * k, 64);
          _tile_loadd(7, right + b_panel + 16 * k, 64);
          _tile_dpbf16ps(0, 4, 6);
          _tile_loadd(5, left + 16 * a_stride + k, 2 * a_stride);
          _tile_dpbf16ps(1, 4, 7);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, to, 4 * stride);
        _tile_stored(1, to + c_panel, 4 * stride);
        _tile_stored(2, to + 16 * stride, 4 * stride);
        _tile_stored(3, to + 16 * stride + c_panel, 4 * stride);
      }
    }
  }
};

}  // namespace

const AttentionKernels attention_amx = attention_kernels<TileRows, FloatRows>();

}  // namespace palmetto
