// Rotation of queries and keys by their positions, while they are taken apart from values or put together.
#pragma once

#include <cstdint>
#include <cstring>

#include "pointwise.h"
#include "vectors.h"

namespace palmetto {
namespace {

// Turns the pairs (x[i], x[i + size / 2]) of each query and key by their angles, or back by them: the derivative.
// `together` is [tokens, heads + 2 · shared, size]; q is [tokens, heads, size], k and v are [tokens, shared, size].
template <typename Value>
void turn(const Turn& turn, int64_t begin, int64_t end) {
  const int64_t half = turn.size / 2, each = turn.heads + 2 * turn.shared;
  for (int64_t token = begin; token < end; token++) {
    const int64_t angle = token / turn.tokens_of_angles * turn.length + token % turn.length;
    const float* const cosines = turn.cosines + angle * half;
    const float* const sines = turn.sines + angle * half;
    for (int64_t head = 0; head < each; head++) {
      Value* const together = static_cast<Value*>(turn.together) + (token * each + head) * turn.size;
      Value* const apart =
          head < turn.heads
              ? static_cast<Value*>(turn.q) + (token * turn.heads + head) * turn.size
              : static_cast<Value*>(head < turn.heads + turn.shared ? turn.k : turn.v) +
                    (token * turn.shared + (head - turn.heads) % turn.shared) * turn.size;
      Value* const to = turn.back ? together : apart;
      const Value* const from = turn.back ? apart : together;
      if (head >= turn.heads + turn.shared) {
        memcpy(to, from, turn.size * sizeof(Value));
        continue;
      }
      for (int64_t i = 0; i < half; i += 16) {
        const int64_t count = half - i;
        const Vector a = load_some(from + i, count), b = load_some(from + half + i, count);
        const Vector cosine = load_some(cosines + i, count);
        const Vector sine = turn.back ? repeat(0) - load_some(sines + i, count) : load_some(sines + i, count);
        store_some(to + i, a * cosine - b * sine, count);
        store_some(to + half + i, a * sine + b * cosine, count);
      }
    }
  }
}

}  // namespace
}  // namespace palmetto
