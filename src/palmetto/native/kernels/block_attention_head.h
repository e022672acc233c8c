// Attention of one row to one key/value head in blocks, for any instruction set.
//
// The keys that a row sees are visited in the order of their positions, whichever blocks hold them and in whatever
// order the table names these. Scores are kept, so that the largest is known before the first exponential. So the bits
// of a row follow from its query and from the keys and values that it sees. Other keys are not read.
#pragma once

#include <algorithm>
#include <cstdint>

#include "block_attention.h"
#include "constants.h"
#include "scratch.h"
#include "vectors.h"

namespace palmetto {
namespace {

// Keys that lie one after the other: `count` of them, from `offset` elements on.
struct Span {
  int64_t position, offset, count;
};

// Writes the spans that a row sees, in the order of their positions, and returns their number.
inline int64_t find_spans(const BlockAttention& all, int64_t row, int64_t head, Span* spans) {
  const int64_t before = all.sequences[row] * all.entries, end = all.end[row];
  const int64_t kept = std::min<int64_t>(all.kept[row], end), first = std::max<int64_t>(all.first[row], kept);
  int64_t count = 0;
  for (int64_t entry = before; entry < before + all.entries; entry++) {
    const int64_t start = all.starts[entry], stop = start + all.positions;
    const int64_t block = (all.tables[entry] * all.heads + head) * all.positions;
    const auto add = [&](int64_t from, int64_t to) {
      if (from < to) spans[count++] = {from, (block + from - start) * all.size, to - from};
    };
    add(start, std::min(stop, kept));
    add(std::max(start, first), std::min(stop, end));
  }
  std::sort(spans, spans + count, [](const Span& a, const Span& b) { return a.position < b.position; });
  return count;
}

// Returns q·key; q is padded with zeros.
template <typename Value>
float score(const float* q, const Value* key, int64_t size) {
  Vector total = repeat(0);
  for (int64_t i = 0; i < size; i += 16) total = multiply_add(load(q + i), load_some(key + i, size - i), total);
  return sum(total);
}

// Returns the scores of 16 keys one after the other, each with the bits of `score`. kWhole: size is a multiple of 16.
template <bool kWhole, typename Value>
Vector scores(const float* q, const Value* keys, int64_t size) {
  Vector totals[16];
#pragma GCC unroll 16
  for (int n = 0; n < 16; n++) totals[n] = repeat(0);
  for (int64_t i = 0; i < size; i += 16) {
    const Vector own = load(q + i);
#pragma GCC unroll 16
    for (int n = 0; n < 16; n++) {
      const Value* const key = keys + n * size + i;
      totals[n] = multiply_add(own, kWhole ? load(key) : load_some(key, size - i), totals[n]);
    }
  }
  return sums(totals);
}

// Turns scores into exponentials of their differences from the largest, and returns the sum of these. There is room
// for a whole number of vectors.
inline float weigh(float* scores, int64_t count) {
  const Vector none = repeat(-__builtin_inff());
  Vector most = none;
  for (int64_t i = 0; i < count; i += 16) most = larger(most, first_lanes(load(scores + i), count - i, none));
  const Vector subtracted = repeat(largest(most));
  Vector total = repeat(0);
  for (int64_t i = 0; i < count; i += 16) {
    const Vector each = first_lanes(exponential(load(scores + i) - subtracted), count - i, repeat(0));
    store(scores + i, each);
    total = total + each;
  }
  return sum(total);
}

// The weights of some query heads, in rows `stride` apart, and their sums.
struct Weights {
  const float* weights;
  int64_t stride;
  const float* totals;
};

#ifdef __AVX512F__
constexpr int kHeads = 6;  // the most query heads whose sums fit into the registers
#else
constexpr int kHeads = 1;
#endif

// Writes Σ weight · value / total of kCount query heads, for kVectors vectors, of which `left` elements belong to them.
template <int kCount, int kVectors, bool kWhole, typename Value>
void add_values(Value* to, const Weights& heads, const Value* values, const Span* spans, int64_t count, int64_t size,
                int64_t left) {
  Vector sums[kCount][kVectors];
#pragma GCC unroll 8
  for (int g = 0; g < kCount; g++) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; n++) sums[g][n] = repeat(0);
  }
  const float* weights = heads.weights;
  for (const Span* span = spans; span < spans + count; span++) {
    const Value* value = values + span->offset;
    for (int64_t i = 0; i < span->count; i++, value += size, weights++) {
      Vector own[kVectors];
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; n++) {
        own[n] = kWhole ? load(value + 16 * n) : load_some(value + 16 * n, left - 16 * n);
      }
#pragma GCC unroll 8
      for (int g = 0; g < kCount; g++) {
        const Vector weight = repeat(weights[g * heads.stride]);
#pragma GCC unroll 4
        for (int n = 0; n < kVectors; n++) sums[g][n] = multiply_add(weight, own[n], sums[g][n]);
      }
    }
  }
#pragma GCC unroll 8
  for (int g = 0; g < kCount; g++) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; n++) {
      store_some(to + g * size + 16 * n, sums[g][n] / repeat(heads.totals[g]), left - 16 * n);
    }
  }
}

template <typename Value>
void attend(const BlockAttention& all, int64_t row, int64_t head, int64_t begin, int64_t end) {
  thread_local Scratch span_memory, query_memory, score_memory, total_memory;
  Span* const spans = static_cast<Span*>(span_memory.take(2 * all.entries * sizeof(Span)));
  const int64_t count = find_spans(all, row, head, spans);
  int64_t seen = 0;
  for (int64_t i = 0; i < count; i++) seen += spans[i].count;
  const int64_t size = all.size, padded = (size + 15) / 16 * 16, stride = (seen + 15) / 16 * 16;
  float* const queries = static_cast<float*>(query_memory.take(4 * (end - begin) * padded));
  float* const weights = static_cast<float*>(score_memory.take(4 * (end - begin) * stride));
  const int64_t before = ((row * all.heads + head) * all.group + begin) * size;
  for (int64_t g = 0; g < end - begin; g++) {
    const Value* const q = static_cast<const Value*>(all.q) + before + g * size;
    for (int64_t i = 0; i < size; i += 16) store(queries + g * padded + i, load_some(q + i, size - i));
  }
  int64_t number = 0;
  for (int64_t span = 0; span < count; span++) {
    const Value* const keys = static_cast<const Value*>(all.keys) + spans[span].offset;
    const int64_t length = spans[span].count, whole = length / 16 * 16;
    for (int64_t g = 0; g < end - begin; g++) {
      const float* const q = queries + g * padded;
      float* const to = weights + g * stride + number;
      for (int64_t i = 0; i < whole; i += 16) {
        const Value* const some = keys + i * size;
        store(to + i, size == padded ? scores<true>(q, some, size) : scores<false>(q, some, size));
      }
      for (int64_t i = whole; i < length; i++) to[i] = score(q, keys + i * size, size);
    }
    number += length;
  }
  float* const totals = static_cast<float*>(total_memory.take(4 * (end - begin)));
  for (int64_t g = 0; g < end - begin; g++) totals[g] = weigh(weights + g * stride, seen);
  const int64_t parts = (end - begin + kHeads - 1) / kHeads;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t g = part * (end - begin) / parts, next = (part + 1) * (end - begin) / parts;
    const Weights heads{weights + g * stride, stride, totals + g};
    with_constant<kHeads>(next - g, [&](auto together) {
      for (int64_t i = 0; i < size; i += 64) {
        Value* const to = static_cast<Value*>(all.output) + before + g * size + i;
        const Value* const values = static_cast<const Value*>(all.values) + i;
        const int64_t left = std::min<int64_t>(64, size - i);
        with_constant<4>((left + 15) / 16, [&](auto vectors) {
          const auto add = left % 16 == 0 ? add_values<together, vectors, true, Value>
                                          : add_values<together, vectors, false, Value>;
          add(to, heads, values, spans, count, size, left);
        });
      }
    });
  }
}

inline void attend(const BlockAttention& all, int64_t row, int64_t head, int64_t begin, int64_t end) {
  return all.is_float32 ? attend<float>(all, row, head, begin, end) : attend<Half>(all, row, head, begin, end);
}

}  // namespace
}  // namespace palmetto
