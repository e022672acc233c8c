// The output of one key/value head's attention.
//
// Rows are computed in blocks against blocks of keys, and the scores of one block stay in the cache. Keys after the
// last position of a block of rows are left out.
#pragma once

#include <cstdint>
#include <cstring>

#include "attention_layout.h"
#include "scratch.h"

namespace palmetto {
namespace {

template <typename Kernel, typename In>
class HeadForward : HeadLayout<Kernel, In> {
  using Layout = HeadLayout<Kernel, In>;
  using typename Layout::Element;
  using Layout::all_;
  using Layout::find_seen;
  using Layout::kMostSize;
  using Layout::length_;
  using Layout::pack_across;
  using Layout::pack_along;
  using Layout::row_offset;
  using Layout::rows_;
  using Layout::size_;
  using Layout::statistics_;

  static constexpr int64_t kRows = 64, kKeys = 256;  // a block
  static constexpr int64_t kScoresStride = kKeys + 16, kWeightsStride = kKeys + 32;

 public:
  using Layout::Layout;

  void compute(int64_t part, int64_t parts) {
    thread_local Scratch scratch;
    for (int measuring = 1; measuring >= 0; measuring--) {
      void* const memory = measuring ? nullptr : scratch.take(needed_);
      Pieces pieces(memory);
      keys_across_ = pieces.take<Element>(length_ * size_);
      values_ = pieces.take<Element>(length_ * size_);
      queries_ = pieces.take<Element>(kRows * size_);
      scores_ = pieces.take<float>(kRows * kScoresStride);
      weights_ = pieces.take<Element>(kRows * kWeightsStride);
      sums_ = pieces.take<float>(kRows * size_);
      needed_ = pieces.used(memory);
    }
    pack_across(keys_across_, all_.k);
    pack_along(values_, all_.v);
    for (int64_t row = part * kRows; row < rows_; row += parts * kRows) forward_block(row);
  }

 private:
  void forward_block(int64_t first) {
    memset(queries_, 0, sizeof(Element) * kRows * size_);
    for (int64_t r = 0; r < least(kRows, rows_ - first); r++) {
      copy(queries_ + r * size_, static_cast<const In*>(all_.q) + row_offset(first + r), all_.size);
    }
    float most[kRows], total[kRows];
    int64_t hidden[kRows], seen[kRows];
    find_seen(first, kRows, hidden, seen);
    const int64_t begin = hidden[0] / kKeys * kKeys, end = seen[kRows - 1];
    for (int64_t start = begin; start < end; start += kKeys) {
      const int64_t keys = least(kKeys, Attention::padded(end - start));
      Kernel::product(scores_, kScoresStride, 16, queries_, size_, keys_across_ + start * size_, 16 * size_, kRows,
                      keys / 16, size_, false);
      for (int64_t r = 0; r < kRows; r++) {
        weigh(scores_ + r * kScoresStride, weights_ + r * kWeightsStride, keys, hidden[r] - start, seen[r] - start,
              start == begin, sums_ + r * size_, &most[r], &total[r]);
      }
      Kernel::product(sums_, size_, 16, weights_, kWeightsStride, values_ + 16 * start, 16 * length_, kRows,
                      size_ / 16, keys, start > begin);
    }
    In output[kMostSize];
    for (int64_t r = 0; r < least(kRows, rows_ - first); r++) {
      const float inverse = 1 / total[r];
      for (int64_t i = 0; i < size_; i += 16) store(output + i, load(sums_ + r * size_ + i) * repeat(inverse));
      copy(static_cast<In*>(all_.output) + row_offset(first + r), output, all_.size);
      statistics_[2 * (first + r)] = most[r];
      statistics_[2 * (first + r) + 1] = inverse;
    }
  }

  // Turns a row's scores with a block of keys, of which it sees those from `hidden` up to `seen`, into exponentials of
  // their differences from the largest score so far, and scales what has been summed before accordingly.
  void weigh(const float* scores, Element* weights, int64_t keys, int64_t hidden, int64_t seen, bool is_first,
             float* sums, float* most, float* total) const {
    const Vector nothing = repeat(-__builtin_inff()), none = repeat(0);
    const int64_t begin = hidden <= 0 ? 0 : least(keys, hidden / 32 * 32);
    const int64_t end = seen >= keys ? keys : seen <= begin ? begin : Attention::padded(seen);
    Vector even = nothing, odd = nothing;
    for (int64_t c = begin; c < end; c += 32) {
      if (hidden <= c && c + 32 <= seen) {
        even = larger(even, load(scores + c));
        odd = larger(odd, load(scores + c + 16));
      } else {
        even = larger(even, between(load(scores + c), hidden - c, seen - c, nothing));
        odd = larger(odd, between(load(scores + c + 16), hidden - c - 16, seen - c - 16, nothing));
      }
    }
    const float own = largest(larger(even, odd));
    const float reference = is_first || own > *most ? own : *most;
    const Vector subtracted = repeat(reference);
    Vector even_sum = none, odd_sum = none;
    for (int64_t c = 0; c < begin; c += 32) Kernel::store_two(weights + c, none, none);
    for (int64_t c = begin; c < end; c += 32) {
      Vector a = exponential(load(scores + c) - subtracted);
      Vector b = exponential(load(scores + c + 16) - subtracted);
      if (c < hidden || seen < c + 32) {
        a = between(a, hidden - c, seen - c, none);
        b = between(b, hidden - c - 16, seen - c - 16, none);
      }
      even_sum = even_sum + a;
      odd_sum = odd_sum + b;
      Kernel::store_two(weights + c, a, b);
    }
    for (int64_t c = end; c < keys; c += 32) Kernel::store_two(weights + c, none, none);
    const float added = sum(even_sum + odd_sum);
    if (is_first) {
      *total = added;
    } else if (reference != *most) {
      float lanes[16];
      store(lanes, exponential(repeat(*most) - subtracted));
      for (int64_t i = 0; i < size_; i += 16) store(sums + i, load(sums + i) * repeat(lanes[0]));
      *total = *total * lanes[0] + added;
    } else {
      *total += added;
    }
    *most = reference;
  }

  int64_t needed_ = 0;
  Element *keys_across_, *values_, *queries_, *weights_;
  float *scores_, *sums_;
};

}  // namespace
}  // namespace palmetto
