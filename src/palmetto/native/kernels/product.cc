// The matrix product as XLA calls it.
#include "product.h"

#include <cstdint>

#include "cpu.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {
namespace {

namespace ffi = xla::ffi;

// A smaller piece is not worth another thread.
constexpr int64_t kLeastWork = 1 << 22;
constexpr int64_t kUnit = 96;  // pieces are multiples of every kernel's tile, in both directions

bool is_matrix(ffi::DataType type) { return type == ffi::DataType::F32 || type == ffi::DataType::BF16; }

int64_t bytes(ffi::DataType type) { return type == ffi::DataType::F32 ? 4 : 2; }

Matrix matrix(const ffi::AnyBuffer& buffer, int64_t number, bool transposed) {
  const auto shape = buffer.dimensions();
  const int64_t rows = shape[shape.size() - 2], columns = shape[shape.size() - 1];
  const char* data = static_cast<const char*>(buffer.untyped_data()) + number * rows * columns * bytes(buffer.element_type());
  const bool is_float32 = buffer.element_type() == ffi::DataType::F32;
  return transposed ? Matrix{data, 1, columns, is_float32} : Matrix{data, columns, 1, is_float32};
}

void compute(const Block& block, bool half) {
  switch (instruction_set()) {
    case kAmx:
      return half ? product_amx(block) : product_avx512(block, false);
    case kAvx512Bf16:
      return half ? product_avx512_bf16(block) : product_avx512(block, false);
    case kAvx512:
      return product_avx512(block, half);
    default:
      return product_avx2(block, half);
  }
}

ffi::Error product(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> c,
                   bool transpose_a, bool transpose_b, bool half) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  if (!is_matrix(a.element_type()) || !is_matrix(b.element_type()) || !is_matrix(c->element_type())) {
    return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  }
  const auto shape = c->dimensions(), shape_a = a.dimensions();
  const size_t axes = shape.size();
  int64_t batch = 1;
  for (size_t axis = 0; axis + 2 < axes; axis++) batch *= shape[axis];
  const int64_t rows = shape[axes - 2], columns = shape[axes - 1], depth = shape_a[axes - (transpose_a ? 2 : 1)];
  const int64_t work = rows * columns * (depth + 1), wanted = work * batch / kLeastWork;
  int64_t pieces = wanted < 1 ? 1 : wanted < 4 * cores() ? wanted : 4 * cores();
  pieces = (pieces + batch - 1) / (batch > 0 ? batch : 1);

  // Pieces are cut where they stay closest to squares, so that little is packed twice.
  int64_t across = 1, down = 1;
  while (across * down < pieces) {
    const bool cut_columns = columns / across >= rows / down;
    if ((cut_columns ? columns / across : rows / down) < 2 * kUnit) break;
    (cut_columns ? across : down) *= 2;
  }
  const auto step = [](int64_t size, int64_t parts) { return ((size + parts - 1) / parts + kUnit - 1) / kUnit * kUnit; };
  const int64_t tall = down == 1 ? rows : step(rows, down), wide = across == 1 ? columns : step(columns, across);

  parallel(pool, batch * across * down, [&](int64_t task) {
    const int64_t number = task / (across * down), top = task / across % down * tall, left = task % across * wide;
    if (top >= rows || left >= columns) return;
    Block block;
    block.a = matrix(a, number, transpose_a).at(top, 0);
    block.b = matrix(b, number, transpose_b).at(0, left);
    block.rows = rows - top < tall ? rows - top : tall;
    block.columns = columns - left < wide ? columns - left : wide;
    block.depth = depth;
    block.is_float32 = c->element_type() == ffi::DataType::F32;
    block.result = static_cast<char*>(c->untyped_data()) + ((number * rows + top) * columns + left) * bytes(c->element_type());
    block.stride = columns;
    compute(block, half);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace palmetto

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_product, palmetto::product,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<bool>("transpose_a")
                                  .Attr<bool>("transpose_b")
                                  .Attr<bool>("half"));
