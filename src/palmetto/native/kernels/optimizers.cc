// The updates of optimizers as XLA calls them.
#include <cstdint>
#include <cstring>

#include "pointwise.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {
namespace {

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::DataType::F32>;

constexpr int64_t kValuesOfTask = 1 << 15;  // a multiple of 16

// Updates each of the matrices that `scales` counts, or leaves all as they are unless `finite`.
template <void (*Pointwise::*kFunction)(const Update&, int64_t, int64_t, float)>
ffi::Error update(ffi::ThreadPool pool, Floats gradient, Floats parameter, Floats m, Floats v, Floats scales,
                  Floats settings, ffi::Buffer<ffi::DataType::PRED> finite, ffi::Result<Floats> new_parameter,
                  ffi::Result<Floats> new_m, ffi::Result<Floats> new_v) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const Update all = {gradient.typed_data(),       parameter.typed_data(), m.typed_data(),     v.typed_data(),
                      new_parameter->typed_data(), new_m->typed_data(),    new_v->typed_data(), settings.typed_data()};
  const int64_t matrices = scales.element_count();
  const int64_t size = matrices == 0 ? 0 : static_cast<int64_t>(gradient.element_count()) / matrices;
  const int64_t pieces = (size + kValuesOfTask - 1) / kValuesOfTask;
  const bool moves = finite.typed_data()[0];
  parallel(pool, matrices * pieces, [&](int64_t task) {
    const int64_t matrix = task / pieces, start = task % pieces * kValuesOfTask, rest = size - start;
    const int64_t begin = matrix * size + start, count = rest < kValuesOfTask ? rest : kValuesOfTask;
    if (moves) return (pointwise().*kFunction)(all, begin, begin + count, scales.typed_data()[matrix]);
    memmove(all.new_parameter + begin, all.parameter + begin, 4 * count);
    memmove(all.new_m + begin, all.m + begin, 4 * count);
    memmove(all.new_v + begin, all.v + begin, 4 * count);
  });
  return ffi::Error::Success();
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<ffi::Buffer<ffi::DataType::PRED>>()
      .Ret<Floats>()
      .Ret<Floats>()
      .Ret<Floats>();
}

}  // namespace
}  // namespace palmetto

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_adafactor, palmetto::update<&palmetto::Pointwise::adafactor>,
                              palmetto::binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_adamw, palmetto::update<&palmetto::Pointwise::adamw>, palmetto::binding());
