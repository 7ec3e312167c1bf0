// SPDX-License-Identifier: Apache-2.0
// ModuleService: what becomes of modules.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/engine/compute_path.h"
#include "core/module/attention_module.h"
#include "core/safetensors/safetensors.h"
#include "core/safetensors/safetensors_writer.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/tensor_codec.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"
#include "tests/testing/attention_case.h"

namespace attention::testing {
namespace {

using ::testing::HasSubstr;

class ModuleServiceTest : public ::testing::Test {
 protected:
  ModuleServiceTest() : server_(Options(directory_)) {}

  static ServerOptions Options(const TemporaryDirectory& directory) {
    ServerOptions options;
    options.modules = directory.path();
    return options;
  }

  grpc::Status UploadAs(const std::string& name, const TestModule& module,
                        bool replace, bool persist) {
    v1::UploadModuleHeader header = module.Header(name);
    header.set_replace(replace);
    header.set_persist(persist);
    return Upload(server_.modules(), header, module.file, &info_);
  }
  grpc::Status Get(const std::string& name) {
    grpc::ClientContext context;
    v1::GetModuleRequest request;
    request.set_name(name);
    v1::GetModuleResponse response;
    const grpc::Status status =
        server_.modules().GetModule(&context, request, &response);
    info_ = response.module();
    return status;
  }
  grpc::Status Load(const std::string& name, bool replace) {
    grpc::ClientContext context;
    v1::LoadModuleRequest request;
    request.set_name(name);
    request.set_replace(replace);
    v1::LoadModuleResponse response;
    const grpc::Status status =
        server_.modules().LoadModule(&context, request, &response);
    info_ = response.module();
    return status;
  }
  grpc::Status Unload(const std::string& name) {
    grpc::ClientContext context;
    v1::UnloadModuleRequest request;
    request.set_name(name);
    v1::UnloadModuleResponse response;
    return server_.modules().UnloadModule(&context, request, &response);
  }

  TemporaryDirectory directory_;
  TestServer server_;
  v1::ModuleInfo info_;  ///< of the last answer
};

TEST_F(ModuleServiceTest, DescribesAnUploadedModule) {
  const TestModule module = MakeTestModule();

  ASSERT_TRUE(UploadAs("m", module, false, false).ok());
  ASSERT_TRUE(Get("m").ok());

  EXPECT_EQ(info_.name(), "m");
  EXPECT_EQ(info_.state(), v1::MODULE_STATE_READY);
  EXPECT_EQ(info_.version(), 1U);
  EXPECT_EQ(DecodeModuleConfig(info_.config()).value(),
            ModuleConfig(module.config));
  EXPECT_EQ(info_.weights_dtype(), v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(info_.compute_dtype(), v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(info_.implementation(), BestComputePath(DataType::kFloat32).name());
  EXPECT_GT(info_.memory_bytes(), 4U * 8 * 8 * 4);
  EXPECT_EQ(info_.weights_digest().size(), 64U);
}

TEST_F(ModuleServiceTest, SaysWhatAModuleIsReallyComputedIn) {
  TestModule module = MakeTestModule();
  module.config.compute_dtype = DataType::kBFloat16;
  // Where the machine cannot compute in bfloat16 it is float32.
  const auto twin = AttentionModule::Create(
      {"twin", 1, ""}, module.config,
      MakeWeights(module.config, DataType::kFloat32, /*seed=*/1));
  ASSERT_TRUE(twin.ok()) << twin.status();

  ASSERT_TRUE(UploadAs("m", module, false, false).ok());
  ASSERT_TRUE(Get("m").ok());

  EXPECT_EQ(info_.config().compute_dtype(), v1::COMPUTE_DTYPE_BFLOAT16);
  EXPECT_EQ(info_.compute_dtype(),
            EncodeDataType(
                (*twin)->implementation(DataType::kFloat32).compute_dtype()));
  server_.ExpectServes();
}

TEST_F(ModuleServiceTest, ComputesFloat64WeightsInNothingElse) {
  TestModule module = MakeTestModule(DataType::kFloat64);
  ASSERT_TRUE(UploadAs("m", module, false, false).ok());
  EXPECT_EQ(info_.compute_dtype(), v1::DATA_TYPE_FLOAT64);
  module.config.compute_dtype = DataType::kBFloat16;

  const grpc::Status status = UploadAs("m", module, true, false);

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "module 'm': compute_dtype: expected float32 with float64 weights, "
            "got bfloat16");
  EXPECT_TRUE(Get("m").ok());
  EXPECT_EQ(info_.version(), 1U);
}

TEST_F(ModuleServiceTest, RefusesAnUnknownComputeDtype) {
  const TestModule module = MakeTestModule();
  v1::UploadModuleHeader header = module.Header("m");
  header.mutable_config()->set_compute_dtype(static_cast<v1::ComputeDtype>(9));

  const grpc::Status status = Upload(server_.modules(), header, module.file);

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("compute_dtype is 9"));
}

TEST_F(ModuleServiceTest, DoesNotReplaceUnasked) {
  ASSERT_TRUE(UploadAs("m", MakeTestModule(), false, false).ok());

  EXPECT_EQ(UploadAs("m", MakeTestModule(), false, false).error_code(),
            grpc::ALREADY_EXISTS);
}

TEST_F(ModuleServiceTest, ReplacesWhenAsked) {
  ASSERT_TRUE(UploadAs("m", MakeTestModule(8, 1), false, false).ok());
  const std::string old_digest = info_.weights_digest();

  ASSERT_TRUE(UploadAs("m", MakeTestModule(8, 2), true, false).ok());

  EXPECT_EQ(info_.version(), 2U);
  EXPECT_NE(info_.weights_digest(), old_digest);
}

TEST_F(ModuleServiceTest, KeepsTheOldModuleWhenAReplacementFails) {
  ASSERT_TRUE(UploadAs("m", MakeTestModule(), false, false).ok());
  TestModule broken = MakeTestModule();
  broken.file.pop_back();

  EXPECT_EQ(UploadAs("m", broken, true, false).error_code(),
            grpc::INVALID_ARGUMENT);

  server_.ExpectServes();
}

TEST_F(ModuleServiceTest, LoadsWhatWasPersisted) {
  TestModule module = MakeTestModule();
  module.config.compute_dtype = DataType::kBFloat16;
  ASSERT_TRUE(UploadAs("m", module, false, true).ok());
  const std::string digest = info_.weights_digest();
  ASSERT_TRUE(Unload("m").ok());

  ASSERT_TRUE(Load("m", false).ok());

  EXPECT_EQ(info_.weights_digest(), digest);
  EXPECT_EQ(info_.config().compute_dtype(), v1::COMPUTE_DTYPE_BFLOAT16);
  server_.ExpectServes();
}

TEST_F(ModuleServiceTest, DoesNotOverwriteAStoredModuleUnasked) {
  ASSERT_TRUE(UploadAs("m", MakeTestModule(), false, true).ok());
  ASSERT_TRUE(Unload("m").ok());

  EXPECT_EQ(UploadAs("m", MakeTestModule(8, 2), false, true).error_code(),
            grpc::ALREADY_EXISTS);
}

TEST_F(ModuleServiceTest, RefusesToPersistOverAFolderBeforeItReadsTheFile) {
  directory_.Write("m/config.json", "{}");
  TestModule broken = MakeTestModule();
  broken.file = "no safetensors";

  const grpc::Status status = UploadAs("m", broken, true, true);

  EXPECT_EQ(status.error_code(), grpc::ALREADY_EXISTS);
  EXPECT_THAT(status.error_message(), HasSubstr("as a folder"));
}

TEST_F(ModuleServiceTest, LoadsOverAServedModuleOnlyWhenAsked) {
  ASSERT_TRUE(UploadAs("m", MakeTestModule(), false, true).ok());

  EXPECT_EQ(Load("m", false).error_code(), grpc::ALREADY_EXISTS);
  EXPECT_TRUE(Load("m", true).ok());
  EXPECT_EQ(info_.version(), 2U);
}

TEST_F(ModuleServiceTest, SaysWhyAFileIsNotLoaded) {
  directory_.Write("bad.safetensors", "no safetensors");

  const grpc::Status status = Load("bad", false);
  ASSERT_TRUE(Get("bad").ok());

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(info_.state(), v1::MODULE_STATE_FAILED);
  EXPECT_FALSE(info_.error().empty());
}

TEST_F(ModuleServiceTest, StoresZeroBiasesAndNothingIgnored) {
  // The module's own file, without its biases and with other tensors.
  const TestModule module = MakeTestModule();
  const SafetensorsView view =
      SafetensorsView::Parse(std::as_bytes(std::span(module.file))).value();
  NamedTensors tensors = view.tensors();
  const std::vector<std::byte> zeros(std::size_t{24} * sizeof(float));
  tensors["in_proj_bias"] = {zeros.data(), DataType::kFloat32, {24}};
  tensors["out_proj.bias"] = {zeros.data(), DataType::kFloat32, {8}};
  const auto file = [&] {
    return SerializeSafetensors(tensors).value().ToString();
  };
  ASSERT_TRUE(UploadAs("m", {module.config, file()}, false, false).ok());
  const std::string digest = info_.weights_digest();
  tensors.erase("in_proj_bias");
  tensors.erase("out_proj.bias");
  tensors["ids"] = {zeros.data(), DataType::kInt64, {1}};
  v1::UploadModuleHeader header = module.Header("n");
  header.set_persist(true);
  v1::WeightNames& names = *header.mutable_weight_names();
  names.add_zero_biases("in_proj_bias");
  names.add_zero_biases("out_proj.bias");
  names.add_ignored("ids");

  const grpc::Status status = Upload(server_.modules(), header, file(), &info_);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info_.weights_digest(), digest);
  ASSERT_TRUE(Load("n", true).ok());
  EXPECT_EQ(info_.weights_digest(), digest);
  const std::string stored = directory_.Read("n.safetensors");
  EXPECT_EQ(SafetensorsView::Parse(std::as_bytes(std::span(stored)))
                .value()
                .tensors()
                .size(),
            4U);
}

TEST_F(ModuleServiceTest, RefusesAWrongZeroBiasBeforeItReadsTheFile) {
  v1::UploadModuleHeader header = MakeTestModule().Header("m");
  header.mutable_weight_names()->add_zero_biases("k_proj.bias");

  const grpc::Status status =
      Upload(server_.modules(), header, "no safetensors");

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("no bias \"k_proj.bias\""));
}

TEST_F(ModuleServiceTest, NamesWhatWasUploadedInThePlaceOfWeights) {
  TestModule module = MakeTestModule();
  module.file = std::string("PK\x03\x04") + std::string(100, 'x');

  const grpc::Status status = UploadAs("m", module, false, false);

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "module 'm': not a safetensors file but a PyTorch checkpoint (a "
            "zip archive); convert it with attention-convert");
}

TEST_F(ModuleServiceTest, DoesNotLoadWhatIsNotStored) {
  EXPECT_EQ(Load("m", false).error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(Get("m").error_code(), grpc::NOT_FOUND);
}

TEST_F(ModuleServiceTest, StopsServingAnUnloadedModule) {
  ASSERT_TRUE(UploadAs("m", MakeTestModule(), false, false).ok());

  ASSERT_TRUE(Unload("m").ok());

  EXPECT_EQ(server_.Forward(MakeRequest("m")).error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(Unload("m").error_code(), grpc::NOT_FOUND);
}

TEST_F(ModuleServiceTest, ListsServedAndStoredModulesByName) {
  ASSERT_TRUE(UploadAs("served", MakeTestModule(), false, false).ok());
  ASSERT_TRUE(UploadAs("both", MakeTestModule(), false, true).ok());
  directory_.Write("stored.safetensors", "");
  grpc::ClientContext context;
  v1::ListModulesResponse response;

  ASSERT_TRUE(server_.modules().ListModules(&context, {}, &response).ok());

  std::vector<std::string> names;
  for (const v1::ModuleInfo& info : response.modules()) {
    names.push_back(info.name());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"both", "served", "stored"}));
  EXPECT_EQ(response.modules(2).state(), v1::MODULE_STATE_AVAILABLE);
}

class LimitedModuleServiceTest : public ::testing::Test {
 protected:
  static ServerOptions RoomForOne() {
    TestServer server;
    server.Serve("m", MakeTestModule());
    grpc::ClientContext context;
    v1::ListModulesResponse list;
    EXPECT_TRUE(server.modules().ListModules(&context, {}, &list).ok());
    ServerOptions options;
    options.max_loaded_bytes = 2 * list.modules(0).memory_bytes() - 1;
    return options;
  }
  grpc::Status UploadAs(const std::string& name) {
    const TestModule module = MakeTestModule();
    return Upload(server_.modules(), module.Header(name), module.file);
  }

  TestServer server_{RoomForOne()};
};

TEST_F(LimitedModuleServiceTest, RefusesAModuleBeyondTheMemoryForAll) {
  ASSERT_TRUE(UploadAs("m").ok());

  const grpc::Status status = UploadAs("second");

  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("--max-loaded-bytes"));
  server_.ExpectServes();
}

TEST_F(LimitedModuleServiceTest, HasRoomAgainForWhatAnUnloadedModuleHeld) {
  ASSERT_TRUE(UploadAs("first").ok());
  grpc::ClientContext context;
  v1::UnloadModuleRequest unload;
  unload.set_name("first");
  v1::UnloadModuleResponse unloaded;
  ASSERT_TRUE(server_.modules().UnloadModule(&context, unload, &unloaded).ok());

  EXPECT_TRUE(UploadAs("second").ok());
}

TEST(ModuleServiceWithoutRepositoryTest, CannotPersist) {
  TestServer server;
  const TestModule module = MakeTestModule();
  v1::UploadModuleHeader header = module.Header("m");
  header.set_persist(true);

  EXPECT_EQ(Upload(server.modules(), header, module.file).error_code(),
            grpc::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace attention::testing
