// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <format>

#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

using testing::HasSubstr;
using namespace std::string_literals;

absl::StatusOr<Tensor> Parse(const std::string& file) {
  return ParseNpy(std::as_bytes(std::span(file)));
}

// A file of version `major`.0 with this dictionary, as NumPy pads it or not.
std::string MakeFile(const std::string& dictionary, const std::string& data,
                     char major = 1) {
  const std::string header = dictionary + "\n";
  std::string file = "\x93NUMPY"s + major + '\0';
  file += static_cast<char>(header.size() % 256);
  file += static_cast<char>(header.size() / 256);
  if (major > 1) file += "\0\0"s;
  return file + header + data;
}

std::string Dictionary(const std::string& descr, const std::string& shape) {
  return std::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
                     descr, shape);
}

TEST(NpyTest, ReadsEveryDtype) {
  const struct {
    const char* descr;
    DataType dtype;
  } cases[] = {{"<f2", DataType::kFloat16}, {"<f4", DataType::kFloat32},
               {"<f8", DataType::kFloat64}, {"|b1", DataType::kBool},
               {"<i4", DataType::kInt32},   {"<i8", DataType::kInt64}};
  for (const auto& [descr, dtype] : cases) {
    const std::string data(3 * DataTypeSize(dtype), '\1');

    const auto tensor = Parse(MakeFile(Dictionary(descr, "(3,)"), data));

    ASSERT_TRUE(tensor.ok()) << descr << ": " << tensor.status();
    EXPECT_EQ(tensor->dtype(), dtype);
    EXPECT_EQ(tensor->shape(), Shape{3});
    EXPECT_EQ(std::memcmp(tensor->view().data, data.data(), data.size()), 0);
  }
}

TEST(NpyTest, ReadsEveryVersion) {
  for (const char major : {'\1', '\2', '\3'}) {
    const auto tensor = Parse(
        MakeFile(Dictionary("<f4", "(1, 2)"), std::string(8, 'x'), major));

    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->shape(), (Shape{1, 2}));
  }
}

TEST(NpyTest, ReadsScalarsAndEmptyArrays) {
  EXPECT_EQ(Parse(MakeFile(Dictionary("<f4", "()"), "abcd"))->shape(), Shape{});
  EXPECT_EQ(Parse(MakeFile(Dictionary("<f4", "(0, 5)"), ""))->shape(),
            (Shape{0, 5}));
}

TEST(NpyTest, ReadsKeysInAnyOrderAndSpacing) {
  const auto tensor = Parse(MakeFile(
      "  { \"shape\":( 2 ,1 ),'descr':'<i4' , 'fortran_order' :False}   ",
      std::string(8, '\0')));

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape(), (Shape{2, 1}));
}

TEST(NpyTest, RejectsMalformedFiles) {
  const std::string good = MakeFile(Dictionary("<f4", "(2,)"), "01234567");
  const struct {
    const char* name;
    std::string file;
    const char* text;
  } cases[] = {
      {"empty", "", "not a .npy file"},
      {"zip", "PK\x03\x04 and more", "not a .npy file"},
      {"magic alone", good.substr(0, 6), "ends within"},
      {"no length", good.substr(0, 9), "ends within"},
      {"half a header", good.substr(0, 30), "ends within"},
      {"version 4", MakeFile(Dictionary("<f4", "(2,)"), "01234567", '\4'),
       "version is 4.0"},
      {"header of 4 GiB", "\x93NUMPY\2\0\xFF\xFF\xFF\xFF"s, "at most"},
      {"too little data", good.substr(0, good.size() - 1), "expected 8"},
      {"too much data", good + "8", "expected 8"},
      {"big-endian", MakeFile(Dictionary(">f4", "(2,)"), "01234567"), "astype"},
      {"complex", MakeFile(Dictionary("<c8", "(1,)"), "01234567"), "astype"},
      {"objects", MakeFile(Dictionary("|O", "(1,)"), "01234567"), "astype"},
      {"records",
       MakeFile("{'descr': [('a', '<f4')], 'fortran_order': False, "
                "'shape': (1,), }",
                "0123"),
       "named fields"},
      {"Fortran order",
       MakeFile("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }",
                "01234567"),
       "ascontiguousarray"},
      {"negative dimension", MakeFile(Dictionary("<f4", "(-2,)"), "01234567"),
       "dimension"},
      {"huge dimension",
       MakeFile(Dictionary("<f4", "(18446744073709551617,)"), ""), "dimension"},
      {"overflowing product",
       MakeFile(Dictionary("<f8", "(2147483647, 2147483647, 2147483647)"), ""),
       ""},
      {"nine dimensions",
       MakeFile(Dictionary("<f4", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), "0123"),
       "more than 8"},
      {"shape without comma", MakeFile(Dictionary("<f4", "(2)"), "01234567"),
       "not a tuple"},
      {"shape not a tuple", MakeFile(Dictionary("<f4", "2"), "01234567"),
       "expected '('"},
      {"shape unterminated", MakeFile("{'shape': (2,", "01234567"), ""},
      {"no dictionary", MakeFile("[]", ""), "expected '{'"},
      {"empty dictionary", MakeFile("{}", ""), "expected the keys"},
      {"missing key", MakeFile("{'descr': '<f4', 'shape': (2,), }", "01234567"),
       "expected the keys"},
      {"repeated key",
       MakeFile("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, "
                "'shape': (2,), }",
                "01234567"),
       "repeated key"},
      {"unknown key",
       MakeFile("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), "
                "'extra': 1}",
                "01234567"),
       "unknown"},
      {"text behind", MakeFile(Dictionary("<f4", "(2,)") + " x", "01234567"),
       "behind"},
      {"unterminated string", MakeFile("{'descr", ""), "unterminated"},
      {"bool of 2", MakeFile(Dictionary("|b1", "(2,)"), "\1\2"), "neither"},
  };
  for (const auto& [name, file, text] : cases) {
    const auto tensor = Parse(file);

    ASSERT_FALSE(tensor.ok()) << name;
    EXPECT_EQ(tensor.status().code(), absl::StatusCode::kInvalidArgument)
        << name;
    EXPECT_THAT(std::string(StatusText(tensor.status())), HasSubstr(text))
        << name;
  }
}

TEST(NpyTest, SurvivesEveryTruncation) {
  const std::string good = MakeFile(Dictionary("<f4", "(2,)"), "01234567");

  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(Parse(good.substr(0, size)).ok()) << size;
  }
}

TEST(NpyTest, WritesWhatItReads) {
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{5}, Shape{2, 3, 4}}) {
    const Tensor tensor = RandomTensor(DataType::kFloat32, shape, /*seed=*/1);

    const auto file = SerializeNpy(tensor.view());

    ASSERT_TRUE(file.ok()) << file.status();
    const auto again = Parse(*file);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->shape(), shape);
    EXPECT_EQ(
        std::memcmp(again->view().data, tensor.view().data, tensor.num_bytes()),
        0);
  }
}

TEST(NpyTest, AlignsDataTo64Bytes) {
  const Tensor tensor = RandomTensor(DataType::kFloat64, Shape{3}, /*seed=*/1);

  const auto file = SerializeNpy(tensor.view());

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((file->size() - tensor.num_bytes()) % 64, 0U);
  EXPECT_EQ((*file)[file->size() - tensor.num_bytes() - 1], '\n');
}

TEST(NpyTest, DoesNotWriteBFloat16) {
  const Tensor tensor(DataType::kBFloat16, Shape{1});

  const auto file = SerializeNpy(tensor.view());

  EXPECT_THAT(std::string(StatusText(file.status())),
              HasSubstr(".safetensors"));
}

}  // namespace
}  // namespace attention
