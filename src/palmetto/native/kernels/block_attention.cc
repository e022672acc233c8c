// Attention over blocks as XLA calls it.
#include "block_attention.h"

#include <algorithm>
#include <cstdint>

#include "cpu.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {
namespace {

namespace ffi = xla::ffi;

using Integers = ffi::Buffer<ffi::DataType::S32>;

ffi::Error attend_blocks(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer keys, ffi::AnyBuffer values,
                         Integers tables, Integers starts, Integers sequences, Integers kept, Integers first,
                         Integers end, ffi::Result<ffi::AnyBuffer> output) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const auto type = q.element_type();
  if (type != ffi::DataType::F32 && type != ffi::DataType::BF16) {
    return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  }
  BlockAttention all;
  all.rows = q.dimensions()[0];
  all.heads = keys.dimensions()[1];
  all.group = q.dimensions()[1] / all.heads;
  all.size = q.dimensions()[2];
  all.positions = keys.dimensions()[2];
  all.is_float32 = type == ffi::DataType::F32;
  all.q = q.untyped_data();
  all.keys = keys.untyped_data();
  all.values = values.untyped_data();
  all.output = output->untyped_data();
  all.tables = tables.typed_data();
  all.starts = starts.typed_data();
  all.entries = tables.dimensions()[1];
  all.sequences = sequences.typed_data();
  all.kept = kept.typed_data();
  all.first = first.typed_data();
  all.end = end.typed_data();
  const auto compute = instruction_set() >= kAvx512 ? block_attention_avx512 : block_attention_avx2;
  // The query heads of a key/value head are divided if there are too few for all cores.
  const int64_t tasks = all.rows * all.heads;
  const int64_t parts = tasks >= 2 * cores() ? 1 : std::min<int64_t>(all.group, cores());
  parallel(pool, tasks * parts, [&](int64_t task) {
    const int64_t head = task / parts, part = task % parts;
    compute(all, head / all.heads, head % all.heads, part * all.group / parts, (part + 1) * all.group / parts);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace palmetto

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_attend_blocks, palmetto::attend_blocks,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<palmetto::Integers>()
                                  .Arg<palmetto::Integers>()
                                  .Arg<palmetto::Integers>()
                                  .Arg<palmetto::Integers>()
                                  .Arg<palmetto::Integers>()
                                  .Arg<palmetto::Integers>()
                                  .Ret<xla::ffi::AnyBuffer>());
