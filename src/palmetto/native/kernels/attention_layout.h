// The layout of one key/value head's matrices in attention, and how they are packed, for any instruction set.
//
// The query heads that share the key/value head are rows of one matrix: row t · group + g is head g at position t. A
// Kernel multiplies a matrix of rows with one of panels: 16 columns each, whose `kPair` neighbouring terms lie side by
// side. With them, scores become panels for the next product as they are computed.
#pragma once

#include <cstdint>
#include <cstring>

#include "attention.h"
#include "bfloat16.h"
#include "vectors.h"

namespace palmetto {
namespace {

inline void copy(float* to, const float* from, int64_t count) { memcpy(to, from, 4 * count); }
inline void copy(Half* to, const Half* from, int64_t count) { memcpy(to, from, 2 * count); }
inline void copy(float* to, const Half* from, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = widen(from[i]);
}

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Returns the lanes of x from `hidden` up to `seen`, and `other` in the rest.
inline Vector between(Vector x, int64_t hidden, int64_t seen, Vector other) {
  return first_lanes(other, hidden, first_lanes(x, seen, other));
}

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
class HeadLayout {
 public:
  HeadLayout(const Attention& attention, int64_t head)
      : all_(attention),
        sequence_(head / attention.heads),
        head_(head % attention.heads),
        rows_(attention.length * attention.group),
        length_(Attention::padded(attention.length)),
        size_(Attention::padded(attention.size)),
        statistics_(attention.statistics + 2 * head * rows_) {}

 protected:
  using Element = typename Kernel::Element;
  static constexpr int64_t kPair = Kernel::kPair;
  static constexpr int64_t kMostSize = 256;

  int64_t row_offset(int64_t row) const {
    const int64_t position = sequence_ * all_.length + row / all_.group;
    return ((position * all_.heads + head_) * all_.group + row % all_.group) * all_.size;
  }
  int64_t key_offset(int64_t key) const {
    return ((sequence_ * all_.length + key) * all_.heads + head_) * all_.size;
  }
  // Finds the keys that each row of a block sees: from hidden[r] up to seen[r]. Rows after the last one, which fill the
  // last block, see what that one does.
  void find_seen(int64_t first, int64_t rows, int64_t* hidden, int64_t* seen) const {
    for (int64_t r = 0; r < rows; r++) {
      const int64_t position = least(first + r, rows_ - 1) / all_.group;
      hidden[r] = least(all_.first[sequence_ * all_.length + position], position);
      seen[r] = position + 1;
    }
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

  const Attention& all_;
  const int64_t sequence_, head_, rows_, length_, size_;  // length and size of a head, padded
  float* const statistics_;
};

}  // namespace
}  // namespace palmetto
