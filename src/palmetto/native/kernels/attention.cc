// Causal attention as XLA calls it.
#include "attention.h"

#include <cstdint>

#include "cpu.h"
#include "scratch.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {
namespace {

namespace ffi = xla::ffi;

const AttentionKernels& kernels() {
  switch (instruction_set()) {
    case kAmx:
      return attention_amx;
    case kAvx512Bf16:
      return attention_avx512_bf16;
    case kAvx512:
      return attention_avx512;
    default:
      return attention_avx2;
  }
}

using Places = ffi::Buffer<ffi::DataType::S32>;

// Fills in the shape and the operands, which have any number of leading axes of sequences.
ffi::Error describe(Attention* attention, const ffi::AnyBuffer& q, const ffi::AnyBuffer& k, const ffi::AnyBuffer& v,
                    const Places& first) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const auto type = q.element_type();
  if (type != ffi::DataType::F32 && type != ffi::DataType::BF16) {
    return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  }
  const auto shape = q.dimensions();
  const size_t axes = shape.size();
  attention->sequences = 1;
  for (size_t axis = 0; axis + 4 < axes; axis++) attention->sequences *= shape[axis];
  attention->length = shape[axes - 4];
  attention->heads = shape[axes - 3];
  attention->group = shape[axes - 2];
  attention->size = shape[axes - 1];
  if (attention->size > 256) return ffi::Error::InvalidArgument("expected heads of at most 256");
  attention->is_float32 = type == ffi::DataType::F32;
  attention->q = q.untyped_data();
  attention->k = k.untyped_data();
  attention->v = v.untyped_data();
  attention->first = first.typed_data();
  return ffi::Error::Success();
}

// Returns into how many tasks, at most `most`, each head is divided: one if the heads keep all cores busy.
int64_t divisions(int64_t heads, int64_t most) { return heads >= 4 * cores() || heads % cores() == 0 ? 1 : most; }

ffi::Error forward(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, Places first,
                   ffi::Result<ffi::AnyBuffer> output, ffi::Result<ffi::Buffer<ffi::DataType::F32>> statistics) {
  Attention attention;
  if (const auto error = describe(&attention, q, k, v, first); error.failure()) return error;
  attention.output = output->untyped_data();
  attention.statistics = statistics->typed_data();
  const int64_t heads = attention.sequences * attention.heads, parts = divisions(heads, 2 * cores());
  parallel(pool, heads * parts, [&](int64_t task) { kernels().forward(attention, task / parts, task % parts, parts); });
  return ffi::Error::Success();
}

ffi::Error backward(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, Places first,
                    ffi::AnyBuffer output, ffi::Buffer<ffi::DataType::F32> statistics, ffi::AnyBuffer d,
                    ffi::Result<ffi::AnyBuffer> dq, ffi::Result<ffi::AnyBuffer> dk, ffi::Result<ffi::AnyBuffer> dv) {
  Attention attention;
  if (const auto error = describe(&attention, q, k, v, first); error.failure()) return error;
  attention.output = output.untyped_data();
  attention.statistics = statistics.typed_data();
  attention.d = d.untyped_data();
  attention.dq = dq->untyped_data();
  attention.dk = dk->untyped_data();
  attention.dv = dv->untyped_data();
  const int64_t heads = attention.sequences * attention.heads, parts = attention.parts(), size = attention.sums();
  if (divisions(heads, parts) == 1) {
    parallel(pool, heads, [&](int64_t head) {
      thread_local Scratch scratch;
      float* const sums = static_cast<float*>(scratch.take(4 * size));
      kernels().backward(attention, head, 0, parts, sums);
      kernels().finish(attention, head, 1, sums);
    });
    return ffi::Error::Success();
  }
  Scratch scratch;
  float* const sums = static_cast<float*>(scratch.take(4 * heads * parts * size));
  parallel(pool, heads * parts, [&](int64_t task) {
    kernels().backward(attention, task / parts, task % parts, 1, sums + task * size);
  });
  parallel(pool, heads, [&](int64_t head) { kernels().finish(attention, head, parts, sums + head * parts * size); });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace palmetto

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_attention, palmetto::forward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<palmetto::Places>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::DataType::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_attention_backward, palmetto::backward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<palmetto::Places>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::DataType::F32>>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());
