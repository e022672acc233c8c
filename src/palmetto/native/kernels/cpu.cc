#include "cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace palmetto {
namespace {

constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of Linux's arch_prctl
constexpr int kTileData = 18;               // the state component of AMX's tiles

std::atomic<int> chosen{kNone}, most_threads{1};

bool bit(uint32_t word, int number) { return word >> number & 1; }

uint64_t enabled_states() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

InstructionSet largest(int limit) {
  uint32_t a, b, c, d, b7, c7, d7, a71 = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27) || !bit(c, 28) || !bit(c, 12)) return kNone;  // OSXSAVE, AVX, FMA
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return kNone;
  __get_cpuid_count(7, 1, &a71, &b, &c, &d);
  const uint64_t states = enabled_states();
  if ((states & 0x6) != 0x6 || !bit(b7, 5) || limit < kAvx2) return kNone;
  // F, DQ, BW and VL of AVX-512
  const bool wide = (states & 0xe6) == 0xe6 && bit(b7, 16) && bit(b7, 17) && bit(b7, 30) && bit(b7, 31);
  if (!wide || limit < kAvx512) return kAvx2;
  if (!bit(a71, 5) || limit < kAvx512Bf16) return kAvx512;
  const bool tiles = bit(d7, 24) && bit(d7, 22) && (states >> 17 & 3) == 3;
  if (!tiles || limit < kAmx) return kAvx512Bf16;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? kAmx : kAvx512Bf16;
}

}  // namespace

InstructionSet instruction_set() { return static_cast<InstructionSet>(chosen.load(std::memory_order_relaxed)); }

bool has_vnni() {
  static const bool found = [] {
    uint32_t a, b, c = 0, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && bit(c, 11);
  }();
  return found;
}

int cores() { return most_threads.load(std::memory_order_relaxed); }

}  // namespace palmetto

// Chooses the largest instruction set up to `limit`, and returns its number; 0 if there is none. Kernels compute on up
// to `cores` threads at a time.
extern "C" int palmetto_choose(int limit, int cores) {
  const int found = palmetto::largest(limit);
  palmetto::chosen.store(found);
  palmetto::most_threads.store(cores);
  return found;
}
