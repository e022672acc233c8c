// Conversions between float32 and bfloat16.
#pragma once

#include <cstdint>
#include <cstring>

namespace palmetto {
namespace {

inline float widen(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// Rounds to the nearest, ties to even; a NaN stays one.
inline uint16_t narrow(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? static_cast<uint16_t>(bits >> 16 | 0x40) : static_cast<uint16_t>(rounded);
}

}  // namespace
}  // namespace palmetto
