// SPDX-License-Identifier: Apache-2.0
// Files no reader should accept, among them those of the reference
// implementation's own tests and attacks (safetensors/src/tensor.rs,
// attacks/safetensors_abuse_attempt_{1,2,3}.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>

#include "core/safetensors/safetensors.h"
#include "tests/core/safetensors/safetensors_bytes.h"

namespace attention {
namespace {

struct HostileFile {
  std::string_view name;
  std::string file;
  std::string_view error;  ///< part of the message expected
};

void PrintTo(const HostileFile& hostile, std::ostream* out) {
  *out << hostile.name;
}

/// A file with one tensor "a" of 4 bytes of data.
std::string WithTensor(const std::string& fields,
                       std::string_view data = "0123") {
  return SafetensorsBytes("{\"a\":{" + fields + "}}", data);
}

std::string WithShape(const std::string& dims) {
  return WithTensor(R"("dtype":"F32","shape":[)" + dims +
                    R"(],"data_offsets":[0,4])");
}

std::string WithOffsets(const std::string& offsets) {
  return WithTensor(R"("dtype":"F32","shape":[1],"data_offsets":)" + offsets);
}

/// Two float32 tensors of one element at these places, before `data`.
std::string WithTwoPlaces(const std::string& a, const std::string& b,
                          std::string_view data) {
  return SafetensorsBytes(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" +
                              a +
                              R"(},"b":{"dtype":"F32","shape":[1],)"
                              R"("data_offsets":)" +
                              b + "}}",
                          data);
}

std::string WithOverlaps() {
  std::string header = "{";
  for (int i = 0; i < 10; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";
  }
  return SafetensorsBytes(header + "}", std::string(16, '\0'));
}

class HostileFraming : public ::testing::TestWithParam<HostileFile> {};
class HostileJson : public ::testing::TestWithParam<HostileFile> {};
class HostileTensor : public ::testing::TestWithParam<HostileFile> {};

void ExpectRefused(const HostileFile& hostile) {
  const auto view = SafetensorsView::Parse(AsBytes(hostile.file));
  EXPECT_EQ(view.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(view.status().message()),
              ::testing::HasSubstr(hostile.error));
}

TEST_P(HostileFraming, IsRefused) { ExpectRefused(GetParam()); }
TEST_P(HostileJson, IsRefused) { ExpectRefused(GetParam()); }
TEST_P(HostileTensor, IsRefused) { ExpectRefused(GetParam()); }

std::string NameOf(const ::testing::TestParamInfo<HostileFile>& info) {
  return std::string(info.param.name);
}

INSTANTIATE_TEST_SUITE_P(
    SafetensorsTest, HostileFraming,
    ::testing::Values(
        HostileFile{"Empty", "", "0 bytes, expected at least 8"},
        HostileFile{"HeaderTooSmall", "1234567", "7 bytes"},
        HostileFile{"HeaderBeyondLimit",
                    SafetensorsBytes(100'000'001, "{}", ""),
                    "100000001 bytes, expected at most 100000000"},
        HostileFile{"HeaderOfAllBits", SafetensorsBytes(~0ULL, "{}", ""),
                    "18446744073709551615 bytes"},
        HostileFile{"HeaderLengthThatWraps",
                    SafetensorsBytes(~0ULL - 7, "{}", ""), "expected at most"},
        HostileFile{"HeaderLengthBeyondFile", SafetensorsBytes(3, "{}", ""),
                    "only 2 more"},
        HostileFile{"HeaderAtLimitBeyondFile",
                    SafetensorsBytes(100'000'000, "{}", ""), "only 2 more"},
        HostileFile{"EmptyHeader", SafetensorsBytes(""), "JSON object"},
        HostileFile{"BlankHeader", SafetensorsBytes("        "), "JSON object"},
        HostileFile{"DataWithoutTensors", SafetensorsBytes("{}", "x"),
                    "1 bytes of data, expected 0"}),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    SafetensorsTest, HostileJson,
    ::testing::Values(
        HostileFile{"NotUtf8", SafetensorsBytes("\xFF"), "JSON object"},
        HostileFile{"NameNotUtf8", SafetensorsBytes("{\"\xFF\":{}}"),
                    "malformed JSON at byte 3"},
        HostileFile{"LoneSurrogate", SafetensorsBytes(R"({"\ud800":{}})"),
                    "malformed JSON"},
        HostileFile{"NotJson", SafetensorsBytes("{not json}"),
                    "malformed JSON"},
        HostileFile{"Unterminated", SafetensorsBytes("{"), "malformed JSON"},
        HostileFile{"ByteOrderMark", SafetensorsBytes("\xEF\xBB\xBF{}"),
                    "JSON object"},
        HostileFile{"NulEndsText", SafetensorsBytes(std::string("{}\0{}", 5)),
                    "malformed JSON at byte 3"},
        HostileFile{"Comment", SafetensorsBytes("{/**/}"), "malformed JSON"},
        HostileFile{"TrailingComma", SafetensorsBytes("{},"), "malformed JSON"},
        HostileFile{"TwoObjects", SafetensorsBytes("{}{}"), "malformed JSON"},
        HostileFile{"Array", SafetensorsBytes("[]"), "JSON object"},
        HostileFile{"Number", SafetensorsBytes("1"), "JSON object"},
        HostileFile{"EntryIsNull", SafetensorsBytes(R"({"a":null})"),
                    "entry 'a' is null, expected an object"},
        HostileFile{"EntryIsNumber", SafetensorsBytes(R"({"a":1})"),
                    "entry 'a' is a number"},
        HostileFile{
            "DuplicateTensor",
            SafetensorsBytes(
                R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                "0123"),
            "duplicate key 'a'"},
        HostileFile{
            "DuplicateTensorByEscape",
            SafetensorsBytes(
                R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                R"("\u0061":{}})"),
            "duplicate key 'a'"},
        HostileFile{
            "DuplicateMetadata",
            SafetensorsBytes(R"({"__metadata__":{},"__metadata__":{}})"),
            "duplicate key '__metadata__'"},
        HostileFile{"DuplicateMetadataKey",
                    SafetensorsBytes(R"({"__metadata__":{"k":"1","k":"2"}})"),
                    "duplicate key 'k'"},
        HostileFile{"MetadataIsString",
                    SafetensorsBytes(R"({"__metadata__":""})"),
                    "is a string, expected an object"},
        HostileFile{"MetadataOfNumbers",
                    SafetensorsBytes(R"({"__metadata__":{"k":1}})"),
                    "metadata 'k' is a number, expected a string"},
        HostileFile{"NestedMetadata",
                    SafetensorsBytes(R"({"__metadata__":{"k":{}}})"),
                    "metadata 'k' is an object, expected a string"},
        HostileFile{"LongName",
                    SafetensorsBytes("{\"" + std::string(1025, 'n') + "\":{}}"),
                    "expected at most 1024 bytes"},
        HostileFile{"NestedField", WithTensor(R"("dtype":"F32","shape":[[1]])"),
                    "shape of tensor 'a' contains an array"}),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    SafetensorsTest, HostileTensor,
    ::testing::Values(
        HostileFile{"NoFields", WithTensor(""), "lacks a field"},
        HostileFile{"NoDtype",
                    WithTensor(R"("shape":[1],"data_offsets":[0,4])"),
                    "lacks a field"},
        HostileFile{"UnknownField", WithTensor(R"("strides":[1])"),
                    "an unknown field 'strides'"},
        HostileFile{"DuplicateField", WithTensor(R"("shape":[1],"shape":[1])"),
                    "a duplicate field 'shape'"},
        HostileFile{
            "UnknownDtype",
            WithTensor(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"),
            "unknown dtype 'f32'"},
        HostileFile{"DtypeIsNumber", WithTensor(R"("dtype":32)"),
                    "dtype of tensor 'a' is a number, expected a string"},
        HostileFile{"ShapeIsString", WithTensor(R"("shape":"[1]")"),
                    "shape of tensor 'a' is a string, expected an array"},
        HostileFile{"NegativeDim", WithShape("-1"), "a negative number"},
        HostileFile{"MinusZero", WithShape("1,-0"), "a negative number"},
        HostileFile{"FloatDim", WithShape("1.0"), "not a 64-bit integer"},
        HostileFile{"ExponentDim", WithShape("1e0"), "not a 64-bit integer"},
        HostileFile{"StringDim", WithShape("\"1\""), "contains a string"},
        HostileFile{"DimBeyond64Bits", WithShape("18446744073709551616"),
                    "not a 64-bit integer"},
        HostileFile{"DimOfAllBits", WithShape("18446744073709551615"),
                    "dimension 0 of a shape"},
        HostileFile{"ProductOverflows", WithShape("2,18446744073709551614"),
                    "dimension 1 of a shape"},
        HostileFile{"BytesOverflow", WithShape("2,9223372036854775807"),
                    "dimension 1 of a shape"},
        HostileFile{"ManySmallDimsOverflow",
                    WithShape("2147483647,2147483647,2147483647"),
                    "a shape has more than"},
        HostileFile{"ZeroHidesOverflow",
                    WithShape("0,2147483647,2147483647,2147483647"),
                    "a shape has more than"},
        HostileFile{"NineDims", WithShape("1,1,1,1,1,1,1,1,1"),
                    "more than 8 dimensions"},
        HostileFile{"ShapeLargerThanData", WithShape("2"), "expected 8 bytes"},
        HostileFile{"ShapeSmallerThanData", WithShape("0"), "expected 0 bytes"},
        HostileFile{"NoOffsets", WithOffsets("[]"), "has 0 numbers"},
        HostileFile{"OneOffset", WithOffsets("[0]"), "has 1 numbers"},
        HostileFile{"ThreeOffsets", WithOffsets("[0,4,8]"), "has 3 numbers"},
        HostileFile{"OffsetsReversed", WithOffsets("[4,0]"), "[4, 0]"},
        HostileFile{"OffsetsThatWrap", WithOffsets("[18446744073709551612,0]"),
                    "expected 4 bytes"},
        HostileFile{"OffsetsBeyondData", WithOffsets("[4,8]"),
                    "starts at byte 4 of the data, expected 0"},
        HostileFile{"HugeOffsets",
                    WithOffsets("[18446744073709551611,18446744073709551615]"),
                    "starts at byte"},
        HostileFile{"NegativeOffset", WithOffsets("[-4,0]"),
                    "a negative number"},
        HostileFile{"Hole", WithTwoPlaces("[0,4]", "[5,9]", "012345678"),
                    "starts at byte 5 of the data, expected 4"},
        HostileFile{"HoleAtStart", WithTwoPlaces("[1,5]", "[5,9]", "012345678"),
                    "starts at byte 1 of the data, expected 0"},
        HostileFile{"PartialOverlap", WithTwoPlaces("[0,4]", "[2,6]", "012345"),
                    "starts at byte 2 of the data, expected 4"},
        HostileFile{"TenOverlappingTensors", WithOverlaps(),
                    "starts at byte 0 of the data, expected 16"},
        HostileFile{"TrailingBytes",
                    WithTwoPlaces("[0,4]", "[4,8]", "01234567x"),
                    "9 bytes of data, expected 8"},
        HostileFile{"MissingTwoBytes",
                    WithTwoPlaces("[0,4]", "[4,8]", "012345"),
                    "6 bytes of data, expected 8"},
        HostileFile{
            "HalfAByte",
            WithTensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])",
                       "01"),
            "12 bits are no whole bytes"},
        HostileFile{
            "BoolThatIsTwo",
            WithTensor(R"("dtype":"BOOL","shape":[1],"data_offsets":[0,1])",
                       "\2"),
            "neither 0 nor 1"}),
    NameOf);

}  // namespace
}  // namespace attention
