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

// Calls function(kernels, Value()) for the type of `like`.
template <typename Function>
ffi::Error of_type(ffi::DataType type, const Function& function) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  if (type == ffi::DataType::F32) {
    function(pointwise().of_float32, float());
  } else if (type == ffi::DataType::BF16) {
    function(pointwise().of_bfloat16, uint16_t());
  } else {
    return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  }
  return ffi::Error::Success();
}

template <typename Buffer>
int64_t last(const Buffer& buffer) {
  return buffer.dimensions()[buffer.dimensions().size() - 1];
}

int64_t rows_of(const ffi::AnyBuffer& buffer) {
  return last(buffer) == 0 ? 0 : static_cast<int64_t>(buffer.element_count()) / last(buffer);
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

ffi::Error log_sum(ffi::ThreadPool pool, ffi::Buffer<ffi::DataType::F32> scores,
                   ffi::Result<ffi::Buffer<ffi::DataType::F32>> result) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const int64_t columns = last(scores);
  in_pieces(pool, result->element_count(), 1 + kValuesOfTask / columns, [&](int64_t begin, int64_t end) {
    pointwise().log_sum(scores.typed_data(), columns, result->typed_data(), begin, end);
  });
  return ffi::Error::Success();
}

ffi::Error largest(ffi::ThreadPool pool, ffi::Buffer<ffi::DataType::F32> scores,
                   ffi::Result<ffi::Buffer<ffi::DataType::S32>> result) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const int64_t columns = last(scores);
  in_pieces(pool, result->element_count(), 1 + kValuesOfTask / columns, [&](int64_t begin, int64_t end) {
    pointwise().largest(scores.typed_data(), columns, result->typed_data(), begin, end);
  });
  return ffi::Error::Success();
}

ffi::Error normalize(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> result, bool centred,
                     float epsilon) {
  Norm norm = {x.untyped_data(), nullptr, result->untyped_data(), last(x), centred, epsilon};
  return of_type(x.element_type(), [&](const auto& kernels, auto) {
    in_pieces(pool, rows_of(x), 1 + kValuesOfTask / (norm.columns + 1),
              [&](int64_t begin, int64_t end) { kernels.normalize(norm, begin, end); });
  });
}

ffi::Error normalize_backward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer d,
                              ffi::Result<ffi::AnyBuffer> result, bool centred, float epsilon) {
  Norm norm = {x.untyped_data(), d.untyped_data(), result->untyped_data(), last(x), centred, epsilon};
  return of_type(x.element_type(), [&](const auto& kernels, auto) {
    in_pieces(pool, rows_of(x), 1 + kValuesOfTask / (norm.columns + 1),
              [&](int64_t begin, int64_t end) { kernels.normalize_backward(norm, begin, end); });
  });
}

ffi::Error turn(ffi::ThreadPool& pool, const ffi::AnyBuffer& together, const ffi::AnyBuffer& q, const ffi::AnyBuffer& k,
                const ffi::AnyBuffer& v, const ffi::Buffer<ffi::DataType::F32>& cosines,
                const ffi::Buffer<ffi::DataType::F32>& sines, bool back) {
  const auto shape = q.dimensions();
  const size_t axes = shape.size();
  const int64_t tokens = q.element_count() / (shape[axes - 1] * shape[axes - 2]);
  const int64_t length = shape[axes - 3], blocks = cosines.element_count() / (length * last(cosines));
  const Turn all = {together.untyped_data(), q.untyped_data(),     k.untyped_data(),    v.untyped_data(),
                    shape[axes - 2],         k.dimensions()[axes - 2], shape[axes - 1], cosines.typed_data(),
                    sines.typed_data(),      length,               tokens / blocks,     back};
  return of_type(q.element_type(), [&](const auto& kernels, auto) {
    in_pieces(pool, tokens, 1 + kValuesOfTask / ((all.heads + 2 * all.shared) * all.size),
              [&](int64_t begin, int64_t end) { kernels.turn(all, begin, end); });
  });
}

ffi::Error turn_apart(ffi::ThreadPool pool, ffi::AnyBuffer together, ffi::Buffer<ffi::DataType::F32> cosines,
                      ffi::Buffer<ffi::DataType::F32> sines, ffi::Result<ffi::AnyBuffer> q,
                      ffi::Result<ffi::AnyBuffer> k, ffi::Result<ffi::AnyBuffer> v) {
  return turn(pool, together, *q, *k, *v, cosines, sines, false);
}

ffi::Error turn_back(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v,
                     ffi::Buffer<ffi::DataType::F32> cosines, ffi::Buffer<ffi::DataType::F32> sines,
                     ffi::Result<ffi::AnyBuffer> together) {
  return turn(pool, *together, q, k, v, cosines, sines, true);
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    palmetto_log_sum, palmetto::log_sum,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<Floats>().Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_largest, palmetto::largest,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::DataType::S32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    palmetto_normalize, palmetto::normalize,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Arg<Any>().Ret<Any>().Attr<bool>("centred").Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_normalize_backward, palmetto::normalize_backward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Ret<Any>()
                                  .Attr<bool>("centred")
                                  .Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_turn_apart, palmetto::turn_apart,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_turn_back, palmetto::turn_back,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Any>());
