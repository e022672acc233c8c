// Numbers that are known while compiling, for loops whose sums stay in registers.
#pragma once

#include <cstdint>
#include <type_traits>

namespace palmetto {
namespace {

// Calls function(n) with n as a constant, for 1 ≤ n ≤ kMost.
template <int kMost, typename Function>
void with_constant(int64_t n, const Function& function) {
  if constexpr (kMost > 1) {
    if (n < kMost) return with_constant<kMost - 1>(n, function);
  }
  function(std::integral_constant<int, kMost>{});
}

}  // namespace
}  // namespace palmetto
