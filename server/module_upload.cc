// SPDX-License-Identifier: Apache-2.0
#include "server/module_upload.h"

#include <format>
#include <new>
#include <utility>

#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "server/message_bytes.h"
#include "server/rpc_context.h"

namespace attention {

absl::Status TooManyLoadsError() {
  return OverloadError("too many modules are waiting to be loaded");
}

ModuleUploadReactor::ModuleUploadReactor(grpc::CallbackServerContext* context,
                                         grpc::ByteBuffer* response,
                                         const Parts& parts)
    : context_(context),
      response_(response),
      parts_(parts),
      token_(parts.calls) {
  parts_.num_uploads.fetch_add(1);
}

void ModuleUploadReactor::Start(const absl::Status& serving) {
  if (!serving.ok()) return Complete(serving);
  if (parts_.num_uploads.load() > parts_.max_uploads) {
    return Complete(OverloadError(
        std::format("{} uploads are under way already", parts_.max_uploads)));
  }
  StartRead(&incoming_);
}

void ModuleUploadReactor::OnReadDone(bool ok) {
  if (!ok) {
    // The client has sent everything, or is gone.
    if (context_->IsCancelled()) {
      return Complete(absl::CancelledError("the client stopped the upload"));
    }
    if (!file_) {
      return Complete(absl::InvalidArgumentError(
          "the upload has no messages, expected one with a header first"));
    }
    return Load();
  }
  v1::UploadModuleRequest message;
  absl::Status status =
      ParseMessage(&incoming_, kMaxUploadMessageBytes, &message);
  if (status.ok()) status = Take(message);
  if (!status.ok()) return Complete(status);
  StartRead(&incoming_);
}

absl::Status ModuleUploadReactor::Take(const v1::UploadModuleRequest& message) {
  switch (message.part_case()) {
    case v1::UploadModuleRequest::kHeader:
      return TakeHeader(message.header());
    case v1::UploadModuleRequest::kData:
      if (!file_) {
        return absl::InvalidArgumentError(
            "the upload's first message has data, expected a header");
      }
      return AnnotateStatus(std::format("module '{}'", header_.name()),
                            file_->Append(message.data()));
    case v1::UploadModuleRequest::PART_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "a message of the upload is empty, expected a header or data");
}

absl::Status ModuleUploadReactor::TakeHeader(
    const v1::UploadModuleHeader& header) {
  if (file_) {
    return absl::InvalidArgumentError(
        "the upload has a second header, expected data");
  }
  if (header.ByteSizeLong() > kMaxManagementBytes) {
    return absl::InvalidArgumentError(
        std::format("the upload's header has {} bytes, expected at most {}",
                    header.ByteSizeLong(), kMaxManagementBytes));
  }
  ATTENTION_RETURN_IF_ERROR(parts_.manager.CheckUpload(header));
  header_ = header;
  ATTENTION_ASSIGN_OR_RETURN(AdmissionController::Reservation reservation,
                             parts_.budget.Reserve(0));
  file_.emplace(parts_.max_module_bytes, std::move(reservation));
  return absl::OkStatus();
}

void ModuleUploadReactor::Load() {
  const bool posted = parts_.work_thread.TryPost([this] {
    // Nobody waits for an upload whose client has gone meanwhile.
    if (context_->IsCancelled()) {
      return Complete(absl::CancelledError("the client stopped the upload"));
    }
    absl::StatusOr<v1::ModuleInfo> info =
        absl::ResourceExhaustedError("memory is exhausted");
    try {
      info = parts_.manager.LoadUpload(header_, file_->bytes());
    } catch (const std::bad_alloc&) {
      // Keeps the status above.
    }
    file_.reset();
    if (info.ok()) {
      v1::UploadModuleResponse response;
      *response.mutable_module() = *std::move(info);
      *response_ = SerializeMessage(response);
    }
    Complete(info.status());
  });
  if (!posted) Complete(TooManyLoadsError());
}

void ModuleUploadReactor::Complete(const absl::Status& status) {
  // Here and not when gRPC is done with the call, which may be long after the
  // client has seen its end and started another.
  parts_.num_uploads.fetch_sub(1);
  Finish(ToRpcStatus(status, context_));
}

}  // namespace attention
