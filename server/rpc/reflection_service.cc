// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_macros.h"
#include "server/rpc/message_bytes.h"
#include "server/rpc/served_services.h"

namespace attention {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::FileDescriptorResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

void AddFile(const FileDescriptor& file, DescriptorPool* pool) {
  if (pool->FindFileByName(file.name()) != nullptr) return;
  for (int i = 0; i < file.dependency_count(); ++i) {
    AddFile(*file.dependency(i), pool);
  }
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  pool->BuildFile(proto);
}

// The files of what is served, without those of what else is linked in.
const DescriptorPool& ServedFiles() {
  static const DescriptorPool& served = *[] {
    auto* pool = new DescriptorPool;
    for (const auto* service : ServedServices()) {
      AddFile(*service->file(), pool);
    }
    return pool;
  }();
  return served;
}

void SetError(grpc::StatusCode code, std::string_view text,
              ServerReflectionResponse* response) {
  response->mutable_error_response()->set_error_code(code);
  response->mutable_error_response()->set_error_message(std::string(text));
}

void SetNotFound(std::string_view name, ServerReflectionResponse* response) {
  SetError(grpc::NOT_FOUND,
           FormatText("nothing that is served is called {}", Quote(name)),
           response);
}

// `file` and what it imports, each once.
void AppendFiles(const FileDescriptor& file,
                 std::vector<const FileDescriptor*>* seen,
                 FileDescriptorResponse* response) {
  if (std::ranges::find(*seen, &file) != seen->end()) return;
  seen->push_back(&file);
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) {
    AppendFiles(*file.dependency(i), seen, response);
  }
}

void SetFiles(const FileDescriptor* file, std::string_view name,
              ServerReflectionResponse* response) {
  if (file == nullptr) return SetNotFound(name, response);
  std::vector<const FileDescriptor*> seen;
  AppendFiles(*file, &seen, response->mutable_file_descriptor_response());
}

void SetExtensions(const std::string& type,
                   ServerReflectionResponse* response) {
  const Descriptor* message = ServedFiles().FindMessageTypeByName(type);
  if (message == nullptr) return SetNotFound(type, response);
  auto* numbers = response->mutable_all_extension_numbers_response();
  numbers->set_base_type_name(type);
  std::vector<const FieldDescriptor*> extensions;
  ServedFiles().FindAllExtensions(message, &extensions);
  for (const FieldDescriptor* extension : extensions) {
    numbers->add_extension_number(extension->number());
  }
}

const FileDescriptor* FileOf(
    const grpc::reflection::v1::ExtensionRequest& request) {
  const Descriptor* message =
      ServedFiles().FindMessageTypeByName(request.containing_type());
  if (message == nullptr) return nullptr;
  const FieldDescriptor* extension =
      ServedFiles().FindExtensionByNumber(message, request.extension_number());
  return extension == nullptr ? nullptr : extension->file();
}

void SetServices(ServerReflectionResponse* response) {
  auto* list = response->mutable_list_services_response();
  for (const auto* service : ServedServices()) {
    list->add_service()->set_name(service->full_name());
  }
}

// Reads a request, answers it, and so on. Deletes itself when gRPC is done with
// the stream.
class ReflectionReactor final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ReflectionReactor(const FrontDoor& door, std::string_view method,
                    grpc::CallbackServerContext* context)
      : visit_(door.Enter(method, context)), unread_(door.answers(), context) {
    visit_.record().is_stream = true;
    StartRead(&request_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(visit_.Leave(absl::OkStatus()));
    visit_.AddMessage(request_.Length());
    const absl::Status answered = CatchBadAlloc([this] { return Answer(); });
    if (!answered.ok()) return Finish(visit_.Leave(answered));
    visit_.record().response_bytes += response_.Length();
    unread_.Give(response_.Length(), AnswerWatch::Clock::now());
    StartWrite(&response_);
  }
  absl::Status Answer() {
    ServerReflectionRequest request;
    ATTENTION_RETURN_IF_ERROR(
        ParseMessage(&request_, kMaxManagementBytes, &request));
    response_ = SerializeMessage(Reflect(request));
    return absl::OkStatus();
  }
  // After a failed write the read fails, too.
  void OnWriteDone(bool /*ok*/) override {
    unread_.Take(response_.Length());
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

  Visit visit_;
  AnswerWatch::Call unread_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
};

}  // namespace

ServerReflectionResponse Reflect(const ServerReflectionRequest& request) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  const DescriptorPool& served = ServedFiles();
  const std::string& file = request.file_by_filename();
  const std::string& symbol = request.file_containing_symbol();
  const auto& extension = request.file_containing_extension();
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      SetFiles(served.FindFileByName(file), file, &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      SetFiles(served.FindFileContainingSymbol(symbol), symbol, &response);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
      SetFiles(FileOf(extension), extension.containing_type(), &response);
      break;
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      SetExtensions(request.all_extension_numbers_of_type(), &response);
      break;
    case ServerReflectionRequest::kListServices:
      SetServices(&response);
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(grpc::INVALID_ARGUMENT,
               "the request is empty, expected one of: file_by_filename, "
               "file_containing_symbol, file_containing_extension, "
               "all_extension_numbers_of_type, list_services",
               &response);
      break;
  }
  return response;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
OpenReflectionStream(const FrontDoor& door, std::string_view method,
                     grpc::CallbackServerContext* context) {
  return new ReflectionReactor(door, method, context);
}

}  // namespace attention
