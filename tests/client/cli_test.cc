// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "client/cpp/cli/tensor_files.h"
#include "core/safetensors/safetensors_writer.h"
#include "core/tensor/random_tensor.h"
#include "tests/client/cli_runner.h"
#include "tests/client/fake_server.h"
#include "tests/client/temp_folder.h"

namespace attention {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class CliTest : public testing::Test {
 protected:
  CliResult Run(const std::vector<std::string>& arguments) {
    return RunClient(server_.target(), arguments);
  }

  FakeServer server_;
  TempFolder folder_;
};

TEST_F(CliTest, TargetComesFromTheEnvironmentAndTheFlagWins) {
  setenv("ATTENTION_TARGET", server_.target().c_str(), /*overwrite=*/1);
  const CliResult from_environment = RunClient("127.0.0.1:1", {"health"});
  const CliResult from_flag =
      RunClient("127.0.0.1:1", {"health", "--target", "nowhere"});
  unsetenv("ATTENTION_TARGET");

  EXPECT_EQ(from_environment.exit_code, kExitOk) << from_environment.err;
  EXPECT_THAT(from_flag.err, HasSubstr("nowhere"));
}

TEST_F(CliTest, ErrorsNameTheOptionThatHelps) {
  const std::vector<std::pair<grpc::Status, std::string>> hints = {
      {{grpc::StatusCode::ALREADY_EXISTS, "already served; set replace"},
       "already served; set replace by --replace\n"},
      {{grpc::StatusCode::ALREADY_EXISTS, "a folder, not overwritten"},
       "a folder, not overwritten\n"},
      {{grpc::StatusCode::DEADLINE_EXCEEDED, "no"},
       "; use --timeout SECONDS\n"}};
  for (const auto& [status, hint] : hints) {
    server_.attention.status = status;

    EXPECT_THAT(Run({"forward", "block", "--random", "1,4,8"}).err,
                testing::EndsWith(hint));
  }
}

TEST_F(CliTest, HealthExitsWithZeroOnlyWhenServing) {
  server_.SetServing("resting", false);

  const CliResult server = Run({"health"});
  const CliResult resting = Run({"health", "--module", "resting"});
  const CliResult unknown = Run({"health", "--module", "unknown"});

  EXPECT_EQ(server.exit_code, kExitOk);
  EXPECT_EQ(server.out, "SERVING\n");
  EXPECT_EQ(resting.exit_code, kExitFailed);
  EXPECT_EQ(resting.out, "NOT_SERVING\n");
  EXPECT_EQ(unknown.exit_code, kExitFailed);
  EXPECT_THAT(unknown.err, HasSubstr("NOT_FOUND"));
  EXPECT_THAT(unknown.err, HasSubstr("the server knows no module 'unknown'"));
}

TEST_F(CliTest, ListsModules) {
  const CliResult result = Run({"modules", "list"});

  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_THAT(result.out, AllOf(HasSubstr("block   ready "),
                                HasSubstr("error: bad weights")));
}

TEST_F(CliTest, ShowsModule) {
  const CliResult result = Run({"modules", "show", "block"});

  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("embed_dim"), HasSubstr("implementation  fake"),
                    HasSubstr("memory          1234 bytes")));
}

TEST_F(CliTest, ReportsUnknownModule) {
  const CliResult result = Run({"modules", "show", "other"});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_EQ(result.err, "error: NOT_FOUND: there is no module 'other'\n");
}

TEST_F(CliTest, LoadsAndUnloadsModules) {
  EXPECT_EQ(Run({"modules", "load", "block", "--replace"}).exit_code, kExitOk);
  EXPECT_TRUE(server_.modules.last_load().replace());
  EXPECT_EQ(Run({"modules", "unload", "block"}).out, "unloaded block\n");
  EXPECT_EQ(Run({"modules", "unload", "other"}).exit_code, kExitFailed);
}

class CliUploadTest : public CliTest {
 protected:
  // Write a weights file whose metadata holds `config`, unless empty.
  std::string WriteWeights(const std::string& config) {
    const Tensor weight = RandomTensor(DataType::kFloat32, Shape{2, 2}, 1);
    SafetensorsMetadata metadata;
    if (!config.empty()) metadata["config"] = config;
    const auto file = SerializeSafetensors({{"w", weight.view()}}, metadata);
    std::string path = folder_ / "weights.safetensors";
    EXPECT_TRUE(WriteTextFile(path, file->ToString()).ok());
    return path;
  }

  const std::string config_ =
      R"({"multi_head_attention": {"embed_dim": 16, "num_heads": 4}})";
};

TEST_F(CliUploadTest, TakesConfigFromTheMetadata) {
  const CliResult result =
      Run({"modules", "upload", "block", WriteWeights(config_)});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const FakeUpload upload = server_.modules.last_upload();
  EXPECT_EQ(upload.header.name(), "block");
  EXPECT_EQ(upload.header.config().multi_head_attention().embed_dim(), 16);
  EXPECT_FALSE(upload.header.replace());
  EXPECT_FALSE(upload.header.persist());
}

TEST_F(CliUploadTest, TakesConfigFromTheCommandLine) {
  const CliResult result =
      Run({"modules", "upload", "block", WriteWeights(""), "--config", config_,
           "--prefix", "layer.", "--replace", "--persist"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const FakeUpload upload = server_.modules.last_upload();
  EXPECT_EQ(upload.header.config().multi_head_attention().num_heads(), 4);
  EXPECT_EQ(upload.header.weights_prefix(), "layer.");
  EXPECT_TRUE(upload.header.replace());
  EXPECT_TRUE(upload.header.persist());
}

TEST_F(CliUploadTest, SaysHowTheFileDiffersFromTheModule) {
  const CliResult result =
      Run({"modules", "upload", "--zero-bias", "in_proj_bias", "--ignore",
           "masked_bias", "--ignore", "norm1", "--zero-bias", "out_proj.bias",
           "block", WriteWeights(""), "--config", config_});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const v1::WeightNames names =
      server_.modules.last_upload().header.weight_names();
  EXPECT_THAT(names.zero_biases(),
              ElementsAre("in_proj_bias", "out_proj.bias"));
  EXPECT_THAT(names.ignored(), ElementsAre("masked_bias", "norm1"));
}

TEST_F(CliUploadTest, TakesConfigFromAFile) {
  ASSERT_TRUE(WriteTextFile(folder_ / "config.json", config_).ok());

  const CliResult result = Run({"modules", "upload", "block", WriteWeights(""),
                                "--config", folder_ / "config.json"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
}

TEST_F(CliUploadTest, ComputeDtypeOfTheCommandLineWins) {
  const std::string file = WriteWeights(
      R"({"multi_head_attention": {"embed_dim": 16, "num_heads": 4},
          "compute_dtype": "COMPUTE_DTYPE_BFLOAT16"})");

  ASSERT_EQ(Run({"modules", "upload", "block", file}).exit_code, kExitOk);
  EXPECT_EQ(server_.modules.last_upload().header.config().compute_dtype(),
            v1::COMPUTE_DTYPE_BFLOAT16);
  ASSERT_EQ(
      Run({"modules", "upload", "block", file, "--compute-dtype", "float32"})
          .exit_code,
      kExitOk);
  EXPECT_NE(server_.modules.last_upload().header.config().compute_dtype(),
            v1::COMPUTE_DTYPE_BFLOAT16);
  ASSERT_EQ(Run({"modules", "upload", "block", file, "--config", config_,
                 "--compute-dtype", "bfloat16"})
                .exit_code,
            kExitOk);
  EXPECT_EQ(server_.modules.last_upload().header.config().compute_dtype(),
            v1::COMPUTE_DTYPE_BFLOAT16);
  EXPECT_EQ(
      Run({"modules", "upload", "block", file, "--compute-dtype", "float64"})
          .exit_code,
      kExitUsage);
}

TEST_F(CliUploadTest, SaysHowToGiveAMissingConfig) {
  const CliResult result =
      Run({"modules", "upload", "block", WriteWeights("")});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr("--config FILE.json"));
}

TEST_F(CliUploadTest, DoesNotSendAFileOfAnotherKind) {
  ASSERT_TRUE(WriteTextFile(folder_ / "model.pt", "PK\3\4 and more").ok());

  const CliResult result = Run({"modules", "upload", "block",
                                folder_ / "model.pt", "--config", config_});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err,
              HasSubstr("model.pt: not a safetensors file but a PyTorch "
                        "checkpoint"));
  EXPECT_EQ(server_.modules.last_upload().header.name(), "");
}

TEST_F(CliUploadTest, RejectsMalformedConfig) {
  const CliResult result = Run({"modules", "upload", "block", WriteWeights(""),
                                "--config", "{\"heads\": 2}"});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr("INVALID_ARGUMENT"));
}

}  // namespace
}  // namespace attention
