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
  const int64_t offset = number * rows * columns * bytes(buffer.element_type());
  const char* data = static_cast<const char*>(buffer.untyped_data()) + offset;
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

constexpr size_t kMostPairs = 16;

ffi::Error product(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> c, bool a_transposed,
                   bool b_transposed, bool half) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const size_t count = operands.size() / 2;
  if (count < 1 || count > kMostPairs) return ffi::Error::InvalidArgument("expected 1 to 16 pairs of matrices");
  bool known = is_matrix(c->element_type());
  int64_t depths[kMostPairs], depth = 0;
  const auto shape = c->dimensions();
  const size_t axes = shape.size();
  for (size_t i = 0; i < 2 * count; i++) {
    const auto buffer = operands.get<ffi::AnyBuffer>(i);
    if (buffer.has_error()) return buffer.error();
    known &= is_matrix(buffer->element_type());
    if (i % 2 == 0) depth += depths[i / 2] = buffer->dimensions()[axes - (a_transposed ? 2 : 1)];
  }
  if (!known) return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  int64_t batch = 1;
  for (size_t axis = 0; axis + 2 < axes; axis++) batch *= shape[axis];
  const int64_t rows = shape[axes - 2], columns = shape[axes - 1];
  const int64_t work = rows * columns * (depth + 1), wanted = work * batch / kLeastWork;
  int64_t pieces = 1;
  while (pieces < 2 * cores() && 2 * pieces * batch <= wanted) pieces *= 2;
  // Every piece packs its rows of a and its columns of b, of which those of b cost more.
  int64_t down = 1;
  const auto packed = [&](int64_t down) { return 2 * down * columns + pieces / down * rows; };
  for (int64_t each = 2; each <= pieces; each *= 2) {
    if (packed(each) < packed(down)) down = each;
  }
  const int64_t across = pieces / down;
  const auto step = [](int64_t size, int64_t parts) {
    return ((size + parts - 1) / parts + kUnit - 1) / kUnit * kUnit;
  };
  const int64_t tall = down == 1 ? rows : step(rows, down), wide = across == 1 ? columns : step(columns, across);

  parallel(pool, batch * across * down, [&](int64_t task) {
    const int64_t number = task / (across * down), top = task / across % down * tall, left = task % across * wide;
    if (top >= rows || left >= columns) return;
    Pair pairs[kMostPairs];
    for (size_t i = 0; i < count; i++) {
      pairs[i].a = matrix(*operands.get<ffi::AnyBuffer>(2 * i), number, a_transposed).at(top, 0);
      pairs[i].b = matrix(*operands.get<ffi::AnyBuffer>(2 * i + 1), number, b_transposed).at(0, left);
      pairs[i].depth = depths[i];
    }
    Block block;
    block.pairs = pairs;
    block.count = count;
    block.rows = rows - top < tall ? rows - top : tall;
    block.columns = columns - left < wide ? columns - left : wide;
    block.is_float32 = c->element_type() == ffi::DataType::F32;
    const int64_t before = (number * rows + top) * columns + left;
    block.result = static_cast<char*>(c->untyped_data()) + before * bytes(c->element_type());
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
                                  .RemainingArgs()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<bool>("a_transposed")
                                  .Attr<bool>("b_transposed")
                                  .Attr<bool>("half"));
