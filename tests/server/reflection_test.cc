// SPDX-License-Identifier: Apache-2.0
// Server reflection, as tools such as grpcurl use it.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using google::protobuf::FileDescriptorProto;
using google::protobuf::ServiceDescriptor;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Method(const std::string& version) {
  return "/grpc.reflection." + version +
         ".ServerReflection/ServerReflectionInfo";
}

// Asks a server in one version of the protocol.
class Reflection : public google::protobuf::DescriptorDatabase {
 public:
  Reflection(TestServer& server, const std::string& version)
      : channel_(server.channel()), method_(Method(version)) {}

  ServerReflectionResponse Ask(const ServerReflectionRequest& request) {
    const RawStreamResult result =
        StreamRaw(channel_, method_, {request.SerializeAsString()});
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    ServerReflectionResponse response;
    EXPECT_EQ(result.answers.size(), 1U);
    EXPECT_TRUE(!result.answers.empty() &&
                response.ParseFromString(result.answers.front()));
    EXPECT_EQ(response.original_request().SerializeAsString(),
              request.SerializeAsString());
    return response;
  }

  std::vector<std::string> ListServices() {
    ServerReflectionRequest request;
    request.set_list_services("");
    std::vector<std::string> names;
    const ServerReflectionResponse response = Ask(request);
    for (const auto& service : response.list_services_response().service()) {
      names.push_back(service.name());
    }
    return names;
  }

  bool FindFileByName(const std::string& name,
                      FileDescriptorProto* file) override {
    ServerReflectionRequest request;
    request.set_file_by_filename(name);
    return Take(Ask(request), file);
  }
  bool FindFileContainingSymbol(const std::string& name,
                                FileDescriptorProto* file) override {
    ServerReflectionRequest request;
    request.set_file_containing_symbol(name);
    return Take(Ask(request), file);
  }
  bool FindFileContainingExtension(const std::string& /*type*/, int /*number*/,
                                   FileDescriptorProto* /*file*/) override {
    return false;
  }

 private:
  static bool Take(const ServerReflectionResponse& response,
                   FileDescriptorProto* file) {
    const auto& files = response.file_descriptor_response();
    return files.file_descriptor_proto_size() > 0 &&
           file->ParseFromString(files.file_descriptor_proto(0));
  }

  const std::shared_ptr<grpc::Channel> channel_;
  const std::string method_;
};

class ReflectionTest : public ::testing::TestWithParam<std::string> {
 protected:
  TestServer server_;
  Reflection reflection_{server_, GetParam()};
};

TEST_P(ReflectionTest, ListsEveryService) {
  EXPECT_THAT(reflection_.ListServices(),
              ElementsAre("attention.v1.AttentionService",
                          "attention.v1.ModuleService", "grpc.health.v1.Health",
                          "grpc.reflection.v1.ServerReflection",
                          "grpc.reflection.v1alpha.ServerReflection"));
}

// Whoever resolves a service needs the files its own file imports, one by one.
TEST_P(ReflectionTest, DescribesEveryServiceItLists) {
  google::protobuf::DescriptorPool pool(&reflection_);
  for (const std::string& name : reflection_.ListServices()) {
    const ServiceDescriptor* service = pool.FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    EXPECT_GT(service->method_count(), 0) << name;
  }
}

TEST_P(ReflectionTest, DescribesOnlyMethodsThatAreServed) {
  google::protobuf::DescriptorPool pool(&reflection_);
  for (const std::string& name : reflection_.ListServices()) {
    const ServiceDescriptor* service = pool.FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i) {
      const std::string method = service->method(i)->name();
      if (method == "Watch") continue;  // has no end
      EXPECT_NE(StreamRaw(server_.channel(), "/" + name + "/" + method, {""})
                    .status.error_code(),
                grpc::UNIMPLEMENTED)
          << name << "/" << method;
    }
  }
}

TEST_P(ReflectionTest, SendsAFileWithAllItImports) {
  ServerReflectionRequest request;
  request.set_file_containing_symbol("attention.v1.ModuleService.GetModule");
  const ServerReflectionResponse response = reflection_.Ask(request);
  std::vector<std::string> names;
  for (const std::string& bytes :
       response.file_descriptor_response().file_descriptor_proto()) {
    FileDescriptorProto file;
    ASSERT_TRUE(file.ParseFromString(bytes));
    names.push_back(file.name());
  }
  EXPECT_THAT(names, ElementsAre("attention/v1/module_service.proto",
                                 "attention/v1/module_config.proto",
                                 "attention/v1/tensor.proto"));
}

TEST_P(ReflectionTest, FindsEverySortOfSymbol) {
  for (const std::string symbol :
       {"attention.v1.ModuleConfig", "attention.v1.ModuleConfig.compute_dtype",
        "attention.v1.ModuleConfig.kind", "attention.v1.ComputeDtype",
        "attention.v1.COMPUTE_DTYPE_FLOAT32"}) {
    FileDescriptorProto file;
    ASSERT_TRUE(reflection_.FindFileContainingSymbol(symbol, &file)) << symbol;
    EXPECT_EQ(file.name(), "attention/v1/module_config.proto");
  }
}

TEST_P(ReflectionTest, FindsTheExtensionsOfAMessage) {
  ServerReflectionRequest request;
  request.set_all_extension_numbers_of_type("attention.v1.Tensor");
  const auto numbers =
      reflection_.Ask(request).all_extension_numbers_response();
  EXPECT_EQ(numbers.base_type_name(), "attention.v1.Tensor");
  EXPECT_EQ(numbers.extension_number_size(), 0);
}

TEST_P(ReflectionTest, SaysWhatItDoesNotKnow) {
  const std::string unknown = "x\n" + std::string(100, 'y');
  ServerReflectionRequest requests[4];
  requests[0].set_file_by_filename(unknown);
  requests[1].set_file_containing_symbol(unknown);
  requests[2].set_all_extension_numbers_of_type(unknown);
  requests[3].mutable_file_containing_extension()->set_containing_type(unknown);
  for (const ServerReflectionRequest& request : requests) {
    const auto error = reflection_.Ask(request).error_response();
    EXPECT_EQ(error.error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(error.error_message(),
              "nothing that is served is called 'x\\x0a" +
                  std::string(62, 'y') + "'... (102 bytes)");
  }
}

// The format of the repository is the server's own.
TEST_P(ReflectionTest, DescribesNothingElse) {
  FileDescriptorProto file;
  EXPECT_FALSE(
      reflection_.FindFileByName("attention/v1/repository.proto", &file));
  EXPECT_FALSE(
      reflection_.FindFileByName("google/protobuf/descriptor.proto", &file));
}

TEST_P(ReflectionTest, SaysThatARequestIsEmpty) {
  const auto error =
      reflection_.Ask(ServerReflectionRequest()).error_response();
  EXPECT_EQ(error.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(error.error_message(), HasSubstr("file_containing_symbol"));
}

TEST_P(ReflectionTest, RefusesWhatIsNotARequest) {
  const RawStreamResult result =
      StreamRaw(server_.channel(), Method(GetParam()), {"\xFF"});
  EXPECT_EQ(result.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(result.status.error_message(),
            "the message of 1 bytes is not a well-formed "
            "grpc.reflection.v1.ServerReflectionRequest");
}

TEST_P(ReflectionTest, AnswersManyRequestsOfOneStream) {
  ServerReflectionRequest request;
  request.set_list_services("");
  const RawStreamResult result =
      StreamRaw(server_.channel(), Method(GetParam()),
                std::vector(100, request.SerializeAsString()));
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.answers.size(), 100U);
}

std::ptrdiff_t NumThreads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

TEST(ReflectionStreamTest, HoldsNoThread) {
  constexpr std::size_t kStreams = 90;  // a connection carries 100
  TestServer server;
  const auto stub =
      grpc::reflection::v1alpha::ServerReflection::NewStub(server.channel());
  grpc::reflection::v1alpha::ServerReflectionRequest request;
  request.set_list_services("");
  grpc::reflection::v1alpha::ServerReflectionResponse response;
  std::vector<grpc::ClientContext> contexts(kStreams);
  std::vector<decltype(stub->ServerReflectionInfo(nullptr))> streams;
  const std::ptrdiff_t before = NumThreads();

  for (grpc::ClientContext& context : contexts) {
    streams.push_back(stub->ServerReflectionInfo(&context));
    ASSERT_TRUE(streams.back()->Write(request));
    ASSERT_TRUE(streams.back()->Read(&response));
  }

  EXPECT_LT(NumThreads() - before, 45);
  for (const auto& stream : streams) {
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, ReflectionTest,
                         ::testing::Values("v1", "v1alpha"),
                         [](const auto& version) { return version.param; });

}  // namespace
}  // namespace attention::testing
