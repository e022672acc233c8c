// The gradient of one key/value head's attention.
//
// Rows are computed in blocks against blocks of keys, as forward, and the scores are computed again.
#pragma once

#include <cstdint>
#include <cstring>

#include "attention_layout.h"
#include "scratch.h"

namespace palmetto {
namespace {

template <typename Kernel, typename In>
class HeadBackward : HeadLayout<Kernel, In> {
  using Layout = HeadLayout<Kernel, In>;
  using typename Layout::Element;
  using Layout::all_;
  using Layout::find_seen;
  using Layout::kMostSize;
  using Layout::length_;
  using Layout::key_offset;
  using Layout::pack_across;
  using Layout::pack_along;
  using Layout::row_offset;
  using Layout::rows_;
  using Layout::size_;
  using Layout::statistics_;

  static constexpr int64_t kRows = 64, kKeys = 128;  // a block
  static constexpr int64_t kStride = kKeys + 16, kElementStride = kKeys + 32;

 public:
  using Layout::Layout;

  void compute(int64_t first, int64_t count, float* sums) {
    thread_local Scratch scratch;
    const int64_t parts = all_.parts();
    float* own;
    for (int measuring = 1; measuring >= 0; measuring--) {
      void* const memory = measuring ? nullptr : scratch.take(needed_);
      Pieces pieces(memory);
      keys_across_ = pieces.take<Element>(length_ * size_);
      values_ = pieces.take<Element>(length_ * size_);
      keys_ = pieces.take<Element>(length_ * size_);
      queries_ = pieces.take<Element>(kRows * size_);
      queries_across_ = pieces.take<Element>(kRows * size_);
      derivatives_ = pieces.take<Element>(kRows * size_);
      derivatives_across_ = pieces.take<Element>(kRows * size_);
      scores_ = pieces.take<float>(kRows * kStride);
      score_derivatives_ = pieces.take<float>(kRows * kStride);
      weights_ = pieces.take<Element>(kRows * kKeys);
      weight_derivatives_ = pieces.take<Element>(kRows * kKeys);
      weight_derivative_rows_ = pieces.take<Element>(kRows * kElementStride);
      sums_ = pieces.take<float>(kRows * size_);
      own = pieces.take<float>(count > 1 ? all_.sums() : 0);
      needed_ = pieces.used(memory);
    }
    pack_across(keys_across_, all_.k);
    pack_across(values_, all_.v);
    pack_along(keys_, all_.k);
    for (int64_t part = first; part < first + count; part++) {
      float* const to = part == first ? sums : own;
      memset(to, 0, 4 * all_.sums());
      for (int64_t row = part * kRows; row < rows_; row += parts * kRows) backward_block(row, to);
      if (part > first) add(sums, own);
    }
  }

  void finish(int64_t count, float* sums) {
    for (int64_t part = 1; part < count; part++) add(sums, sums + part * all_.sums());
    write_across(static_cast<In*>(all_.dk), sums);
    write_across(static_cast<In*>(all_.dv), sums + length_ * size_);
  }

 private:
  void add(float* to, const float* from) const {
    for (int64_t i = 0; i < all_.sums(); i += 16) store(to + i, load(to + i) + load(from + i));
  }

  // Writes a matrix of panels of 16 keys, [size_, 16] each, as keys or values lie.
  void write_across(In* matrix, const float* sums) const {
    In row[kMostSize];
    float values[kMostSize];
    for (int64_t key = 0; key < all_.length; key++) {
      const float* const column = sums + key / 16 * 16 * size_ + key % 16;
      for (int64_t i = 0; i < size_; i++) values[i] = column[16 * i];
      for (int64_t i = 0; i < size_; i += 16) store(row + i, load(values + i));
      copy(matrix + key_offset(key), row, all_.size);
    }
  }

  // With e the exponentials, d' = d / their sum, and o the output: ds = e ⊙ (d'·vᵀ − rowsum(d' ⊙ o)), dq = ds·k,
  // dkᵀ = qᵀ·ds, dvᵀ = d'ᵀ·e.
  void backward_block(int64_t first, float* sums) {
    float most[kRows], row_sum[kRows];
    pack_block(first, most, row_sum);
    int64_t hidden[kRows], seen[kRows];
    find_seen(first, kRows, hidden, seen);
    const int64_t begin = hidden[0] / kKeys * kKeys, end = seen[kRows - 1];
    for (int64_t start = begin; start < end; start += kKeys) {
      const int64_t keys = least(kKeys, Attention::padded(end - start));
      Kernel::product(scores_, kStride, 16, queries_, size_, keys_across_ + start * size_, 16 * size_,
                      kRows, keys / 16, size_, false);
      Kernel::product(score_derivatives_, kStride, 16, derivatives_, size_, values_ + start * size_,
                      16 * size_, kRows, keys / 16, size_, false);
      for (int64_t r = 0; r < kRows; r += 2) {
        differentiate(r, keys, start, hidden, seen, most, row_sum);
      }
      float* const dk = sums + start * size_;
      float* const dv = dk + length_ * size_;
      Kernel::product(dv, 16, 16 * size_, derivatives_across_, kRows, weights_, 16 * kRows, size_,
                      keys / 16, kRows, true);
      Kernel::product(dk, 16, 16 * size_, queries_across_, kRows, weight_derivatives_, 16 * kRows,
                      size_, keys / 16, kRows, true);
      Kernel::product(sums_, size_, 16, weight_derivative_rows_, kElementStride, keys_ + 16 * start,
                      16 * length_, kRows, size_ / 16, keys, start > begin);
    }
    In row[kMostSize];
    for (int64_t r = 0; r < least(kRows, rows_ - first); r++) {
      for (int64_t i = 0; i < size_; i += 16) store(row + i, load(sums_ + r * size_ + i));
      copy(static_cast<In*>(all_.dq) + row_offset(first + r), row, all_.size);
    }
  }

  // Packs a block's queries and derivatives d', both also transposed; rows after the last are zero.
  void pack_block(int64_t first, float* most, float* row_sum) {
    const int64_t rows = least(kRows, rows_ - first);
    memset(queries_, 0, sizeof(Element) * kRows * size_);
    memset(derivatives_, 0, sizeof(Element) * kRows * size_);
    In d[kMostSize] = {}, output[kMostSize] = {};
    for (int64_t r = 0; r < kRows; r++) {
      most[r] = row_sum[r] = 0;
      if (r >= rows) continue;
      const int64_t offset = row_offset(first + r);
      copy(queries_ + r * size_, static_cast<const In*>(all_.q) + offset, all_.size);
      copy(d, static_cast<const In*>(all_.d) + offset, all_.size);
      copy(output, static_cast<const In*>(all_.output) + offset, all_.size);
      most[r] = statistics_[2 * (first + r)];
      const Vector inverse = repeat(statistics_[2 * (first + r) + 1]);
      Vector total = repeat(0);
      for (int64_t i = 0; i < size_; i += 16) {
        store(derivatives_ + r * size_ + i, load(d + i) * inverse);
        total = multiply_add(load(derivatives_ + r * size_ + i), load(output + i), total);
      }
      row_sum[r] = sum(total);
    }
    Kernel::transpose(queries_across_, queries_, kRows, size_);
    Kernel::transpose(derivatives_across_, derivatives_, kRows, size_);
  }

  // Computes e and ds of rows r and r + 1 with a block of keys from `start` on; the second row sees no key before those
  // of the first, and no fewer after them.
  void differentiate(int64_t r, int64_t keys, int64_t start, const int64_t* all_hidden, const int64_t* all_seen,
                     const float* most, const float* row_sum) {
    const int64_t hidden = all_hidden[r] - start, next_hidden = all_hidden[r + 1] - start;
    const int64_t seen = all_seen[r] - start, next_seen = all_seen[r + 1] - start;
    const float* const scores = scores_ + r * kStride;
    const float* const derivatives = score_derivatives_ + r * kStride;
    Element* const rows = weight_derivative_rows_ + r * kElementStride;
    const Vector most0 = repeat(most[r]), most1 = repeat(most[r + 1]);
    const Vector sum0 = repeat(row_sum[r]), sum1 = repeat(row_sum[r + 1]), none = repeat(0);
    for (int64_t c = 0; c < keys; c += 16) {
      Vector e0 = none, e1 = none, ds0 = none, ds1 = none;
      if (hidden < c + 16 && c < next_seen) {
        e0 = exponential(load(scores + c) - most0);
        e1 = exponential(load(scores + kStride + c) - most1);
        if (c < next_hidden || seen < c + 16) {
          e0 = between(e0, hidden - c, seen - c, none);
          e1 = between(e1, next_hidden - c, next_seen - c, none);
        }
        ds0 = e0 * (load(derivatives + c) - sum0);
        ds1 = e1 * (load(derivatives + kStride + c) - sum1);
      }
      Kernel::store_pair(weights_ + c * kRows + 16 * r, e0, e1);
      Kernel::store_pair_and_rows(weight_derivatives_ + c * kRows + 16 * r, rows + c,
                                  rows + kElementStride + c, ds0, ds1);
    }
  }

  int64_t needed_ = 0;
  Element *keys_, *keys_across_, *values_;
  Element *queries_, *queries_across_, *derivatives_, *derivatives_across_;
  Element *weights_, *weight_derivatives_, *weight_derivative_rows_;
  float *scores_, *score_derivatives_, *sums_;
};

}  // namespace
}  // namespace palmetto
