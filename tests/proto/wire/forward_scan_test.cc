// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/forward_scan.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <string>

#include "attention/v1/attention_service.pb.h"

namespace attention {
namespace {

using google::protobuf::io::ArrayInputStream;

v1::ForwardRequest Request() {
  v1::ForwardRequest request;
  request.set_module(std::string(50, 'm'));
  request.mutable_query()->add_shape(3);
  request.mutable_query()->set_data(std::string(1000, 'q'));
  request.mutable_valid_lens()->set_data(std::string(10, 'v'));
  request.set_dropout_seed(7);
  request.add_query_lengths(3);
  return request;
}

// In pieces, as gRPC delivers a message.
template <typename Count>
std::size_t CountIn(const std::string& bytes, Count count) {
  ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()),
                          /*block_size=*/7);
  return count(&stream);
}

TEST(ForwardScanTest, CountsTheElementsOfEveryTensor) {
  EXPECT_EQ(CountIn(Request().SerializeAsString(), CountRequestElementBytes),
            1010U);
}

TEST(ForwardScanTest, LooksIntoTheStreamsEnvelope) {
  v1::ForwardStreamRequest message;
  message.set_id(5);
  *message.mutable_request() = Request();

  EXPECT_EQ(
      CountIn(message.SerializeAsString(), CountStreamRequestElementBytes),
      1010U);
}

TEST(ForwardScanTest, CountsNeverMoreThanThereIs) {
  const std::string bytes = Request().SerializeAsString();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_LE(CountIn(bytes.substr(0, length), CountRequestElementBytes),
              length);
  }
}

TEST(ForwardScanTest, ReadsTheIdOfAStreamsRequestWhereverItStands) {
  v1::ForwardStreamRequest request;
  *request.mutable_request() = Request();
  v1::ForwardStreamRequest id;
  id.set_id(300);

  EXPECT_EQ(CountIn(request.SerializeAsString() + id.SerializeAsString(),
                    ReadStreamRequestId),
            300U);
  EXPECT_EQ(CountIn(request.SerializeAsString(), ReadStreamRequestId), 0U);
}

}  // namespace
}  // namespace attention
