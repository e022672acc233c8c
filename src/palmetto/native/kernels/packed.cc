// Products with packed matrices as XLA calls them.
#include "packed.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu.h"
#include "scratch.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace palmetto {
namespace {

namespace ffi = xla::ffi;

constexpr size_t kMostMatrices = 8;
constexpr int64_t kLeastWork = 1 << 17;  // less is not worth another thread
constexpr int64_t kPieces = 8;           // the number of pieces for each core, so that one that comes late helps
constexpr int64_t kTilesAtOnce = 20;     // the rows that stay in the cache while panels pass

PackedKernel kernel(Packing packing) {
  const bool wide = instruction_set() >= kAvx512;
  if (packing == Packing::kInt8) return wide && has_vnni() ? packed_int8_avx512_vnni() : packed_int8_avx2();
  return wide ? packed_float_avx512() : packed_float_avx2();
}

// Writes the numbers of the rows that are not zero, and returns how many there are.
int64_t find_rows(const ffi::AnyBuffer& rows, int32_t* numbers) {
  const int64_t bytes = rows.size_bytes() / rows.dimensions()[0];
  const char* row = static_cast<const char*>(rows.untyped_data());
  int64_t count = 0;
  for (int32_t number = 0; number < rows.dimensions()[0]; number++, row += bytes) {
    if (row[0] != 0 || memcmp(row, row + 1, bytes - 1) != 0) numbers[count++] = number;
  }
  return count;
}

ffi::Error packed_products(ffi::ThreadPool pool, ffi::AnyBuffer rows, ffi::RemainingArgs operands,
                           ffi::RemainingRets results) {
  if (instruction_set() == kNone) return ffi::Error::Internal("no instruction set was chosen");
  const size_t count = results.size();
  if (count < 1 || count > kMostMatrices) return ffi::Error::InvalidArgument("expected 1 to 8 matrices");
  static thread_local Scratch memory, numbers, found_rows;
  PackedRows a;
  const int64_t all = rows.dimensions()[0];
  if (all == 0) return ffi::Error::Success();
  int32_t* const found = static_cast<int32_t*>(found_rows.take(4 * all));
  a.rows = rows.untyped_data();
  a.numbers = found;
  a.is_float32 = rows.element_type() == ffi::DataType::F32;
  a.count = find_rows(rows, found);
  a.depth = rows.dimensions()[1];
  PackedMatrix matrices[kMostMatrices];
  int64_t before[kMostMatrices + 1] = {0};
  const size_t each = operands.size() / count;
  for (size_t i = 0; i < count; i++) {
    const auto panels = operands.get<ffi::AnyBuffer>(each * i);
    auto result = results.get<ffi::AnyBuffer>(i);
    if (panels.has_error()) return panels.error();
    if (result.has_error()) return result.error();
    const auto type = panels->element_type();
    a.packing = type == ffi::DataType::U8     ? Packing::kInt8
                : type == ffi::DataType::BF16 ? Packing::kBfloat16
                                              : Packing::kFloat32;
    matrices[i].panels = static_cast<const char*>(panels->untyped_data());
    matrices[i].scales = nullptr;
    if (each == 2) {
      const auto scales = operands.get<ffi::Buffer<ffi::DataType::F32>>(2 * i + 1);
      if (scales.has_error()) return scales.error();
      matrices[i].scales = scales->typed_data();
    }
    matrices[i].columns = (*result)->dimensions()[1];
    matrices[i].result = (*result)->untyped_data();
    matrices[i].is_float32 = (*result)->element_type() == ffi::DataType::F32;
    before[i + 1] = before[i] + matrices[i].count();
    if (a.count < all) memset(matrices[i].result, 0, (*result)->size_bytes());
  }
  if (a.count == 0) return ffi::Error::Success();
  const PackedKernel of = kernel(a.packing);
  a.tiles = (a.count + of.rows - 1) / of.rows;
  a.packed = memory.take(a.bytes(a.count));
  a.scales = static_cast<float*>(numbers.take(8 * a.count));
  a.offsets = reinterpret_cast<int32_t*>(a.scales + a.count);
  parallel(pool, a.tiles, [&](int64_t tile) { of.pack(a, tile); });

  const int64_t panels = before[count], work = a.count * a.depth * kPanel * panels;
  const int64_t pieces = work < kLeastWork ? 1 : std::min<int64_t>(panels, kPieces * cores());
  const int64_t blocks = (a.tiles + kTilesAtOnce - 1) / kTilesAtOnce;
  parallel(pool, blocks * pieces, [&](int64_t task) {
    const int64_t block = task / pieces, piece = task % pieces;
    size_t i = 0;
    for (int64_t panel = piece * panels / pieces; panel < (piece + 1) * panels / pieces; panel++) {
      while (panel >= before[i + 1]) i++;
      of.multiply(a, block * a.tiles / blocks, (block + 1) * a.tiles / blocks, matrices[i], panel - before[i]);
    }
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace palmetto

XLA_FFI_DEFINE_HANDLER_SYMBOL(palmetto_packed_products, palmetto::packed_products,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .RemainingRets());
