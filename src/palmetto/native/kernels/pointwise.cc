// Kernels that compute value by value or row by row, as XLA calls them.
#include "pointwise.h"

#include <cstdint>

#include "cpu.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {
namespace {

namespace ffi = xla::ffi;

constexpr int64_t kValuesOfTask = 1 << 15;  // a multiple of 16

const Pointwise& kernels() { return instruction_set() >= kAvx512 ? pointwise_avx512 : pointwise_avx2; }

// Calls function(kernels, Value()) for the type of `like`.
template <typename Function>
ffi::Error of_type(ffi::DataType type, const Function& function) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  if (type == ffi::DataType::F32) {
    function(kernels().of_float32, float());
  } else if (type == ffi::DataType::BF16) {
    function(kernels().of_bfloat16, uint16_t());
  } else {
    return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  }
  return ffi::Error::Success();
}

// Calls task(begin, end) for pieces of `count` things, `each` of which are a task.
template <typename Task>
void in_pieces(ffi::ThreadPool& pool, int64_t count, int64_t each, const Task& task) {
  parallel(pool, (count + each - 1) / each, [&](int64_t piece) {
    const int64_t end = (piece + 1) * each;
    task(piece * each, end < count ? end : count);
  });
}

ffi::Error swiglu(ffi::ThreadPool pool, ffi::AnyBuffer gate, ffi::AnyBuffer up, ffi::Result<ffi::AnyBuffer> inner) {
  return of_type(gate.element_type(), [&](const auto& kernels, auto value) {
    using Value = decltype(value);
    in_pieces(pool, gate.element_count(), kValuesOfTask, [&](int64_t begin, int64_t end) {
      kernels.swiglu(static_cast<const Value*>(gate.untyped_data()), static_cast<const Value*>(up.untyped_data()),
                     static_cast<Value*>(inner->untyped_data()), begin, end);
    });
  });
}

ffi::Error swiglu_backward(ffi::ThreadPool pool, ffi::AnyBuffer gate, ffi::AnyBuffer up, ffi::AnyBuffer d,
                           ffi::Result<ffi::AnyBuffer> dgate, ffi::Result<ffi::AnyBuffer> dup) {
  return of_type(gate.element_type(), [&](const auto& kernels, auto value) {
    using Value = decltype(value);
    in_pieces(pool, gate.element_count(), kValuesOfTask, [&](int64_t begin, int64_t end) {
      kernels.swiglu_backward(
          static_cast<const Value*>(gate.untyped_data()), static_cast<const Value*>(up.untyped_data()),
          static_cast<const Value*>(d.untyped_data()), static_cast<Value*>(dgate->untyped_data()),
          static_cast<Value*>(dup->untyped_data()), begin, end);
    });
  });
}

ffi::Error cross_entropy(ffi::ThreadPool pool, ffi::Buffer<ffi::DataType::F32> scores,
                         ffi::Buffer<ffi::DataType::S32> targets, ffi::Buffer<ffi::DataType::F32> weights,
                         ffi::Result<ffi::AnyBuffer> gradient, ffi::Result<ffi::Buffer<ffi::DataType::F32>> losses,
                         ffi::Result<ffi::Buffer<ffi::DataType::F32>> squares, float z_loss) {
  Scores rows;
  rows.scores = scores.typed_data();
  rows.columns = scores.dimensions()[scores.dimensions().size() - 1];
  rows.targets = targets.typed_data();
  rows.weights = weights.typed_data();
  rows.z_loss = z_loss;
  rows.gradient = gradient->untyped_data();
  rows.losses = losses->typed_data();
  rows.squares = squares->typed_data();
  return of_type(gradient->element_type(), [&](const auto& kernels, auto) {
    in_pieces(pool, targets.element_count(), 1 + kValuesOfTask / rows.columns, [&](int64_t begin, int64_t end) {
      kernels.cross_entropy(rows, begin, end);
    });
  });
}

}  // namespace
}  // namespace palmetto

using Any = xla::ffi::AnyBuffer;
using Floats = xla::ffi::Buffer<xla::ffi::DataType::F32>;
using Integers = xla::ffi::Buffer<xla::ffi::DataType::S32>;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    palmetto_swiglu, palmetto::swiglu,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<Any>().Arg<Any>().Ret<Any>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    palmetto_swiglu_backward, palmetto::swiglu_backward,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<Any>().Arg<Any>().Arg<Any>().Ret<Any>().Ret<Any>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_cross_entropy, palmetto::cross_entropy,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Integers>()
                                  .Arg<Floats>()
                                  .Ret<Any>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Attr<float>("z_loss"));
