// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/convert.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "core/simd/convert.h"

namespace attention {
namespace {

// double -> float rounded to odd: a later rounding to 16 bits is then the
// correct rounding of the double (Boldo and Melquiond, "Emulation of FMA and
// correctly rounded sums: proved algorithms using rounding to odd", 2008).
float RoundToOdd(double value) {
  const auto nearest = static_cast<float>(value);
  if (std::isnan(value) || static_cast<double>(nearest) == value) {
    return nearest;
  }
  float truncated = nearest;
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) {
    truncated = std::nextafter(nearest, 0.0F);
  }
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(truncated) | 1U);
}

template <typename Stored, typename Real, typename Decode>
void LoadAs(const std::byte* src, std::size_t count, Real* dst, Decode decode) {
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, src + i * sizeof(Stored), sizeof(Stored));
    dst[i] = static_cast<Real>(decode(stored));
  }
}

template <typename Stored, typename Real, typename Encode>
void StoreAs(const Real* src, std::size_t count, std::byte* dst,
             Encode encode) {
  for (std::size_t i = 0; i < count; ++i) {
    const Stored stored = encode(src[i]);
    std::memcpy(dst + i * sizeof(Stored), &stored, sizeof(Stored));
  }
}

// How a 16-bit type is read and written: whole vectors from and to float, one
// by one from and to double.
struct Codec {
  void (*widen)(const std::uint16_t* from, std::size_t count, float* to);
  void (*narrow)(const float* from, std::size_t count, std::uint16_t* to);
  float (*decode)(std::uint16_t bits);
  std::uint16_t (*encode)(float value);
};
constexpr Codec kFloat16 = {HalfToFloat, FloatToHalf, Float16ToFloat,
                            FloatToFloat16};
constexpr Codec kBFloat16 = {Bf16ToFloat, FloatToBf16, BFloat16ToFloat,
                             FloatToBFloat16};

void LoadWith(const Codec& codec, const std::byte* src, std::size_t count,
              float* dst) {
  codec.widen(reinterpret_cast<const std::uint16_t*>(src), count, dst);
}
void LoadWith(const Codec& codec, const std::byte* src, std::size_t count,
              double* dst) {
  LoadAs<std::uint16_t>(src, count, dst, codec.decode);
}

void StoreWith(const Codec& codec, const float* src, std::size_t count,
               std::byte* dst) {
  codec.narrow(src, count, reinterpret_cast<std::uint16_t*>(dst));
}
void StoreWith(const Codec& codec, const double* src, std::size_t count,
               std::byte* dst) {
  StoreAs<std::uint16_t>(src, count, dst, [&codec](double value) {
    return codec.encode(RoundToOdd(value));
  });
}

}  // namespace

float BFloat16ToFloat(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

std::uint16_t FloatToBFloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // A NaN whose payload lies in the lower half must not become infinity.
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16U) | 64U);
  const std::uint32_t round = 0x7FFFU + ((bits >> 16U) & 1U);
  return static_cast<std::uint16_t>((bits + round) >> 16U);
}

float Float16ToFloat(std::uint16_t bits) {
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}

std::uint16_t FloatToFloat16(float value) {
  return std::bit_cast<std::uint16_t>(static_cast<_Float16>(value));
}

template <typename Real>
void LoadReals(DataType dtype, const std::byte* src, std::size_t count,
               Real* dst) {
  switch (dtype) {
    case DataType::kFloat32:
      return LoadAs<float>(src, count, dst, [](float v) { return v; });
    case DataType::kFloat64:
      return LoadAs<double>(src, count, dst, [](double v) { return v; });
    case DataType::kFloat16:
      return LoadWith(kFloat16, src, count, dst);
    case DataType::kBFloat16:
      return LoadWith(kBFloat16, src, count, dst);
    default:
      assert(false && "LoadReals needs a floating dtype");
  }
}

template <typename Real>
void StoreReals(const Real* src, std::size_t count, DataType dtype,
                std::byte* dst) {
  switch (dtype) {
    case DataType::kFloat32:
      return StoreAs<float>(src, count, dst,
                            [](Real v) { return static_cast<float>(v); });
    case DataType::kFloat64:
      return StoreAs<double>(src, count, dst,
                             [](Real v) { return static_cast<double>(v); });
    case DataType::kFloat16:
      return StoreWith(kFloat16, src, count, dst);
    case DataType::kBFloat16:
      return StoreWith(kBFloat16, src, count, dst);
    default:
      assert(false && "StoreReals needs a floating dtype");
  }
}

template void LoadReals(DataType, const std::byte*, std::size_t, float*);
template void LoadReals(DataType, const std::byte*, std::size_t, double*);
template void StoreReals(const float*, std::size_t, DataType, std::byte*);
template void StoreReals(const double*, std::size_t, DataType, std::byte*);

}  // namespace attention
