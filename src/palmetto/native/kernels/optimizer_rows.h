// The updates of optimizers, in one pass over a parameter and its moments. Products are rounded before they are added.
#pragma once

#include <cstdint>

#include "pointwise.h"
#include "vectors.h"

namespace palmetto {
namespace {

// Calls update(gradient, &parameter, &m, &v) for every 16 values from `begin` up to `end`.
template <typename Each>
void update_values(const Update& all, int64_t begin, int64_t end, const Each& each) {
  for (int64_t i = begin; i < end; i += 16) {
    const int64_t count = end - i;
    Vector parameter = load_some(all.parameter + i, count);
    Vector m = load_some(all.m + i, count), v = load_some(all.v + i, count);
    each(load_some(all.gradient + i, count), &parameter, &m, &v);
    store_some(all.new_parameter + i, parameter, count);
    store_some(all.new_m + i, m, count);
    store_some(all.new_v + i, v, count);
  }
}

// The settings are the share of this step in v, that of the past in m and 1 less it, and the decay of the parameter.
inline void adafactor(const Update& all, int64_t begin, int64_t end, float scale) {
  const Vector share = repeat(all.settings[0]), past = repeat(1) - share, tiny = repeat(1e-30f), by = repeat(scale);
  const Vector kept = repeat(all.settings[1]), added = repeat(all.settings[2]), decay = repeat(all.settings[3]);
  update_values(all, begin, end, [&](Vector gradient, Vector* parameter, Vector* m, Vector* v) {
    *v = past * *v + share * (gradient * gradient + tiny);
    *m = kept * *m + added * (by * (gradient / root(*v)));
    *parameter = *parameter - (decay * *parameter + *m);
  });
}

// The settings are the share of the past in m and 1 less it, the same of v, what makes up for m and v having begun at
// zero, epsilon, and the learning rate; the scale of a matrix is its decay.
inline void adamw(const Update& all, int64_t begin, int64_t end, float decay) {
  const float* const s = all.settings;
  const Vector kept = repeat(s[0]), added = repeat(s[1]), kept_square = repeat(s[2]), added_square = repeat(s[3]);
  const Vector grown = repeat(s[4]), grown_square = repeat(s[5]), epsilon = repeat(s[6]), rate = repeat(s[7]);
  const Vector shrink = repeat(decay);
  update_values(all, begin, end, [&](Vector gradient, Vector* parameter, Vector* m, Vector* v) {
    *m = kept * *m + added * gradient;
    *v = kept_square * *v + added_square * (gradient * gradient);
    const Vector direction = *m / grown / (root(*v / grown_square) + epsilon);
    *parameter = *parameter - rate * (direction + shrink * *parameter);
  });
}

}  // namespace
}  // namespace palmetto
