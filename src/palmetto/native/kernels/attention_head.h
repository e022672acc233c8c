// Causal attention of one key/value head, for any instruction set.
//
// The query heads that share the key/value head are rows of one matrix: row t · group + g is head g at position t. Rows
// are computed in blocks against blocks of keys, and the scores of one block stay in the cache. Backward, the scores
// are computed again. Keys after the last position of a block of rows are left out.
//
// A Kernel multiplies a matrix of rows with one of panels: 16 columns each, whose `kPair` neighbouring terms lie side
// by side. With them, scores become panels for the next product as they are computed.
#pragma once

#include <cstdint>
#include <cstring>

#include "attention.h"
#include "scratch.h"
#include "vectors.h"

namespace palmetto {
namespace {

inline void copy(float* to, const float* from, int64_t count) { memcpy(to, from, 4 * count); }
inline void copy(Half* to, const Half* from, int64_t count) { memcpy(to, from, 2 * count); }
inline void copy(float* to, const Half* from, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    memcpy(to + i, &bits, 4);
  }
}

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Hands out consecutive pieces of memory, each aligned to a cache line.
class Pieces {
 public:
  explicit Pieces(void* memory) : next_(static_cast<char*>(memory)) {}

  template <typename T>
  T* take(int64_t count) {
    T* const piece = reinterpret_cast<T*>(next_);
    next_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }

  int64_t used(const void* memory) const { return next_ - static_cast<const char*>(memory); }

 private:
  char* next_;
};

template <typename Kernel, typename In>
class Head {
  using Element = typename Kernel::Element;
  static constexpr int64_t kPair = Kernel::kPair;
  static constexpr int64_t kRows = 64, kKeys = 256;                   // a block forward
  static constexpr int64_t kBackwardRows = 64, kBackwardKeys = 128;  // a block backward
  static constexpr int64_t kMostSize = 256;

 public:
  Head(const Attention& attention, int64_t head)
      : all_(attention),
        sequence_(head / attention.heads),
        head_(head % attention.heads),
        rows_(attention.length * attention.group),
        length_(Attention::padded(attention.length)),
        size_(Attention::padded(attention.size)),
        statistics_(attention.statistics + 2 * head * rows_) {}

  void forward(int64_t part, int64_t parts) {
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

  void backward(int64_t first, int64_t count, float* sums) {
    thread_local Scratch scratch;
    const int64_t parts = all_.parts();
    float* own;
    for (int measuring = 1; measuring >= 0; measuring--) {
      void* const memory = measuring ? nullptr : scratch.take(needed_);
      Pieces pieces(memory);
      keys_across_ = pieces.take<Element>(length_ * size_);
      values_ = pieces.take<Element>(length_ * size_);
      keys_ = pieces.take<Element>(length_ * size_);
      queries_ = pieces.take<Element>(kBackwardRows * size_);
      queries_across_ = pieces.take<Element>(kBackwardRows * size_);
      derivatives_ = pieces.take<Element>(kBackwardRows * size_);
      derivatives_across_ = pieces.take<Element>(kBackwardRows * size_);
      scores_ = pieces.take<float>(kBackwardRows * kBackwardStride);
      score_derivatives_ = pieces.take<float>(kBackwardRows * kBackwardStride);
      weights_ = pieces.take<Element>(kBackwardRows * kBackwardKeys);
      weight_derivatives_ = pieces.take<Element>(kBackwardRows * kBackwardKeys);
      weight_derivative_rows_ = pieces.take<Element>(kBackwardRows * kBackwardElementStride);
      sums_ = pieces.take<float>(kBackwardRows * size_);
      own = pieces.take<float>(count > 1 ? all_.sums() : 0);
      needed_ = pieces.used(memory);
    }
    pack_across(keys_across_, all_.k);
    pack_across(values_, all_.v);
    pack_along(keys_, all_.k);
    for (int64_t part = first; part < first + count; part++) {
      float* const to = part == first ? sums : own;
      memset(to, 0, 4 * all_.sums());
      for (int64_t row = part * kBackwardRows; row < rows_; row += parts * kBackwardRows) backward_block(row, to);
      if (part > first) add(sums, own);
    }
  }

  void finish(int64_t count, float* sums) {
    for (int64_t part = 1; part < count; part++) add(sums, sums + part * all_.sums());
    write_across(static_cast<In*>(all_.dk), sums);
    write_across(static_cast<In*>(all_.dv), sums + length_ * size_);
  }

 private:
  static constexpr int64_t kScoresStride = kKeys + 16, kWeightsStride = kKeys + 32;
  static constexpr int64_t kBackwardStride = kBackwardKeys + 16, kBackwardElementStride = kBackwardKeys + 32;

  int64_t row_offset(int64_t row) const {
    const int64_t position = sequence_ * all_.length + row / all_.group;
    return ((position * all_.heads + head_) * all_.group + row % all_.group) * all_.size;
  }
  int64_t key_offset(int64_t key) const {
    return ((sequence_ * all_.length + key) * all_.heads + head_) * all_.size;
  }
  // Counts the keys that each row of a block sees, and returns the last row's. Rows after the last one, which fill the
  // last block, see what that one does.
  int64_t count_seen(int64_t first, int64_t rows, int64_t* seen) const {
    for (int64_t r = 0; r < rows; r++) seen[r] = least(first + r, rows_ - 1) / all_.group + 1;
    return seen[rows - 1];
  }

  void add(float* to, const float* from) const {
    for (int64_t i = 0; i < all_.sums(); i += 16) store(to + i, load(to + i) + load(from + i));
  }

  // Packs keys or values as panels of 16 keys, for products whose terms are the dimensions of a head.
  void pack_across(Element* to, const void* matrix) const {
    memset(to, 0, sizeof(Element) * length_ * size_);
    Element padded[kMostSize] = {};
    for (int64_t key = 0; key < all_.length; key++) {
      copy(padded, static_cast<const In*>(matrix) + key_offset(key), all_.size);
      Element* const column = to + key / 16 * 16 * size_ + key % 16 * kPair;
      for (int64_t i = 0; i < size_; i += kPair) memcpy(column + 16 * i, padded + i, sizeof(Element) * kPair);
    }
  }

  // Packs keys or values as panels of 16 dimensions, for products whose terms are the keys.
  void pack_along(Element* to, const void* matrix) const {
    memset(to, 0, sizeof(Element) * length_ * size_);
    Element padded[2][kMostSize] = {};
    for (int64_t key = 0; key < all_.length; key += 2) {
      const bool both = key + 1 < all_.length;
      copy(padded[0], static_cast<const In*>(matrix) + key_offset(key), all_.size);
      if (both) {
        copy(padded[1], static_cast<const In*>(matrix) + key_offset(key + 1), all_.size);
      } else {
        memset(padded[1], 0, sizeof(padded[1]));
      }
      for (int64_t i = 0; i < size_; i += 16) {
        Kernel::store_pair(to + i * length_ + 16 * key, load(padded[0] + i), load(padded[1] + i));
      }
    }
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

  void forward_block(int64_t first) {
    memset(queries_, 0, sizeof(Element) * kRows * size_);
    for (int64_t r = 0; r < least(kRows, rows_ - first); r++) {
      copy(queries_ + r * size_, static_cast<const In*>(all_.q) + row_offset(first + r), all_.size);
    }
    float most[kRows], total[kRows];
    int64_t seen[kRows];
    const int64_t end = count_seen(first, kRows, seen);
    for (int64_t start = 0; start < end; start += kKeys) {
      const int64_t keys = least(kKeys, Attention::padded(end - start));
      Kernel::product(scores_, kScoresStride, 16, queries_, size_, keys_across_ + start * size_, 16 * size_, kRows,
                      keys / 16, size_, false);
      for (int64_t r = 0; r < kRows; r++) {
        weigh(scores_ + r * kScoresStride, weights_ + r * kWeightsStride, keys, seen[r] - start, start == 0,
              sums_ + r * size_, &most[r], &total[r]);
      }
      Kernel::product(sums_, size_, 16, weights_, kWeightsStride, values_ + 16 * start, 16 * length_, kRows,
                      size_ / 16, keys, start > 0);
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

  // Turns a row's scores with a block of keys, of which it sees the first, into exponentials of their differences from
  // the largest score so far, and scales what has been summed before accordingly.
  void weigh(const float* scores, Element* weights, int64_t keys, int64_t seen, bool is_first, float* sums,
             float* most, float* total) const {
    const Vector nothing = repeat(-__builtin_inff());
    const int64_t whole = seen >= keys ? keys : seen <= 0 ? 0 : seen / 32 * 32;
    const int64_t end = seen >= keys ? keys : seen <= 0 ? 0 : Attention::padded(seen);
    Vector even = nothing, odd = nothing;
    for (int64_t c = 0; c < whole; c += 32) {
      even = larger(even, load(scores + c));
      odd = larger(odd, load(scores + c + 16));
    }
    if (whole < end) {
      even = larger(even, first_lanes(load(scores + whole), seen - whole, nothing));
      odd = larger(odd, first_lanes(load(scores + whole + 16), seen - whole - 16, nothing));
    }
    const float own = largest(larger(even, odd));
    const float reference = is_first || own > *most ? own : *most;
    const Vector subtracted = repeat(reference);
    Vector even_sum = repeat(0), odd_sum = repeat(0);
    for (int64_t c = 0; c < whole; c += 32) {
      const Vector a = exponential(load(scores + c) - subtracted);
      const Vector b = exponential(load(scores + c + 16) - subtracted);
      even_sum = even_sum + a;
      odd_sum = odd_sum + b;
      Kernel::store_two(weights + c, a, b);
    }
    if (whole < end) {
      const Vector none = repeat(0);
      const Vector a = first_lanes(exponential(load(scores + whole) - subtracted), seen - whole, none);
      const Vector b = first_lanes(exponential(load(scores + whole + 16) - subtracted), seen - whole - 16, none);
      even_sum = even_sum + a;
      odd_sum = odd_sum + b;
      Kernel::store_two(weights + whole, a, b);
    }
    for (int64_t c = end; c < keys; c += 32) Kernel::store_two(weights + c, repeat(0), repeat(0));
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

  // With e the exponentials, d' = d / their sum, and o the output: ds = e ⊙ (d'·vᵀ − rowsum(d' ⊙ o)), dq = ds·k,
  // dkᵀ = qᵀ·ds, dvᵀ = d'ᵀ·e.
  void backward_block(int64_t first, float* sums) {
    float most[kBackwardRows], row_sum[kBackwardRows];
    pack_block(first, most, row_sum);
    int64_t seen[kBackwardRows];
    const int64_t end = count_seen(first, kBackwardRows, seen);
    for (int64_t start = 0; start < end; start += kBackwardKeys) {
      const int64_t keys = least(kBackwardKeys, Attention::padded(end - start));
      Kernel::product(scores_, kBackwardStride, 16, queries_, size_, keys_across_ + start * size_, 16 * size_,
                      kBackwardRows, keys / 16, size_, false);
      Kernel::product(score_derivatives_, kBackwardStride, 16, derivatives_, size_, values_ + start * size_,
                      16 * size_, kBackwardRows, keys / 16, size_, false);
      for (int64_t r = 0; r < kBackwardRows; r += 2) {
        differentiate(r, keys, seen[r] - start, seen[r + 1] - start, most, row_sum);
      }
      float* const dk = sums + start * size_;
      float* const dv = dk + length_ * size_;
      Kernel::product(dv, 16, 16 * size_, derivatives_across_, kBackwardRows, weights_, 16 * kBackwardRows, size_,
                      keys / 16, kBackwardRows, true);
      Kernel::product(dk, 16, 16 * size_, queries_across_, kBackwardRows, weight_derivatives_, 16 * kBackwardRows,
                      size_, keys / 16, kBackwardRows, true);
      Kernel::product(sums_, size_, 16, weight_derivative_rows_, kBackwardElementStride, keys_ + 16 * start,
                      16 * length_, kBackwardRows, size_ / 16, keys, start > 0);
    }
    In row[kMostSize];
    for (int64_t r = 0; r < least(kBackwardRows, rows_ - first); r++) {
      for (int64_t i = 0; i < size_; i += 16) store(row + i, load(sums_ + r * size_ + i));
      copy(static_cast<In*>(all_.dq) + row_offset(first + r), row, all_.size);
    }
  }

  // Packs a block's queries and derivatives d', both also transposed; rows after the last are zero.
  void pack_block(int64_t first, float* most, float* row_sum) {
    const int64_t rows = least(kBackwardRows, rows_ - first);
    memset(queries_, 0, sizeof(Element) * kBackwardRows * size_);
    memset(derivatives_, 0, sizeof(Element) * kBackwardRows * size_);
    In d[kMostSize] = {}, output[kMostSize] = {};
    for (int64_t r = 0; r < kBackwardRows; r++) {
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
    Kernel::transpose(queries_across_, queries_, kBackwardRows, size_);
    Kernel::transpose(derivatives_across_, derivatives_, kBackwardRows, size_);
  }

  // Computes e and ds of rows r and r + 1 with a block of keys, of which they see the first.
  void differentiate(int64_t r, int64_t keys, int64_t seen, int64_t next_seen, const float* most,
                     const float* row_sum) {
    const float* const scores = scores_ + r * kBackwardStride;
    const float* const derivatives = score_derivatives_ + r * kBackwardStride;
    Element* const rows = weight_derivative_rows_ + r * kBackwardElementStride;
    const Vector most0 = repeat(most[r]), most1 = repeat(most[r + 1]);
    const Vector sum0 = repeat(row_sum[r]), sum1 = repeat(row_sum[r + 1]), none = repeat(0);
    for (int64_t c = 0; c < keys; c += 16) {
      Vector e0 = none, e1 = none, ds0 = none, ds1 = none;
      if (c < next_seen) {
        e0 = exponential(load(scores + c) - most0);
        e1 = exponential(load(scores + kBackwardStride + c) - most1);
        if (c + 16 > seen) {
          e0 = first_lanes(e0, seen - c, none);
          e1 = first_lanes(e1, next_seen - c, none);
        }
        ds0 = e0 * (load(derivatives + c) - sum0);
        ds1 = e1 * (load(derivatives + kBackwardStride + c) - sum1);
      }
      Kernel::store_pair(weights_ + c * kBackwardRows + 16 * r, e0, e1);
      Kernel::store_pair_and_rows(weight_derivatives_ + c * kBackwardRows + 16 * r, rows + c,
                                  rows + kBackwardElementStride + c, ds0, ds1);
    }
  }

  const Attention& all_;
  const int64_t sequence_, head_, rows_, length_, size_;  // length and size of a head, padded
  float* const statistics_;
  int64_t needed_ = 0;
  Element *keys_, *keys_across_, *values_;
  Element *queries_, *queries_across_, *derivatives_, *derivatives_across_;
  Element *weights_, *weight_derivatives_, *weight_derivative_rows_;
  float *scores_, *score_derivatives_, *sums_;
};

// The functions of a Kernel for bfloat16, and of FloatKernel for float32.
template <typename Kernel, typename FloatKernel>
constexpr AttentionKernels attention_kernels() {
  return {
      [](const Attention& attention, int64_t head, int64_t part, int64_t parts) {
        if (attention.is_float32) return Head<FloatKernel, float>(attention, head).forward(part, parts);
        Kernel::begin();
        Head<Kernel, Half>(attention, head).forward(part, parts);
        Kernel::end();
      },
      [](const Attention& attention, int64_t head, int64_t first, int64_t count, float* sums) {
        if (attention.is_float32) return Head<FloatKernel, float>(attention, head).backward(first, count, sums);
        Kernel::begin();
        Head<Kernel, Half>(attention, head).backward(first, count, sums);
        Kernel::end();
      },
      [](const Attention& attention, int64_t head, int64_t count, float* sums) {
        if (attention.is_float32) return Head<FloatKernel, float>(attention, head).finish(count, sums);
        Head<Kernel, Half>(attention, head).finish(count, sums);
      },
  };
}

}  // namespace
}  // namespace palmetto
