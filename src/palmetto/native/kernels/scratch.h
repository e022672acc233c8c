// Memory that a thread keeps from one call to the next.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace palmetto {
namespace {

class Scratch {
 public:
  ~Scratch() { free(memory_); }

  // Returns at least `size` bytes, aligned to a page, whose former content is lost.
  void* take(int64_t size) {
    if (size > size_) {
      free(memory_);
      size_ = (size + 4095) / 4096 * 4096;
      memory_ = aligned_alloc(4096, size_);
      if (memory_ == nullptr) abort();
    }
    return memory_;
  }

 private:
  void* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace
}  // namespace palmetto
