// Tasks spread over the thread that calls a kernel and idle threads of XLA's pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "cpu.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {

// The number of threads that are inside a task, of any kernel and device.
inline std::atomic<int> busy{0};

// Runs task(i) for every i below `count`, in any order and on any thread; returns when all are done.
// The caller takes tasks itself and never waits for one that nobody has begun, so that a pool whose threads all wait
// cannot stop it. No more threads help than there are idle cores.
template <typename Task>
void parallel(xla::ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct Shared {
    const Task* task;
    int64_t count;
    std::atomic<int64_t> next{0}, done{0};

    void work() {
      busy.fetch_add(1, std::memory_order_relaxed);
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
        (*task)(i);
        done.fetch_add(1, std::memory_order_release);
      }
      busy.fetch_sub(1, std::memory_order_relaxed);
    }
  };
  const int64_t idle = cores() - 1 - busy.load(std::memory_order_relaxed);
  const int64_t helpers = count - 1 < idle ? count - 1 : idle;
  if (helpers < 1) {
    busy.fetch_add(1, std::memory_order_relaxed);
    for (int64_t i = 0; i < count; i++) task(i);
    busy.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  auto shared = std::make_shared<Shared>();
  shared->task = &task;
  shared->count = count;
  for (int64_t i = 0; i < helpers; i++) pool.Schedule([shared] { shared->work(); });
  shared->work();
  for (int waits = 0; shared->done.load(std::memory_order_acquire) < count; waits++) {
    if (waits < 1 << 14) {
      __builtin_ia32_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace palmetto
