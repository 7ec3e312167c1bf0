// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/module_upload.h"

#include <grpcpp/server_context.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "attention/v1/module_service.pb.h"
#include "core/module/module_name.h"
#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/module_codec.h"
#include "server/modules/upload_buffer.h"
#include "server/rpc/message_bytes.h"

namespace attention {
namespace {

absl::Status StoppedError() {
  return absl::CancelledError("the client stopped the upload");
}

}  // namespace

absl::Status TooManyLoadsError() {
  return OverloadError("too many modules are waiting to be loaded");
}

/// One UploadModule call.
///
/// gRPC calls the On… methods, the loading thread completes what came whole,
/// and the server may end what has not: all of them lock. Finish is called
/// once; the reactor deletes itself when gRPC is done with it.
class ModuleUploadReactor final
    : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  using Clock = std::chrono::steady_clock;

  ModuleUploadReactor(ModuleUploads* uploads,
                      grpc::CallbackServerContext* context,
                      grpc::ByteBuffer* response)
      : uploads_(uploads),
        parts_(uploads->parts_),
        context_(context),
        response_(response),
        token_(parts_.door.calls()),
        visit_(parts_.door.Enter("/attention.v1.ModuleService/UploadModule",
                                 context)) {
    uploads_->num_uploads_.fetch_add(1);
  }

  // Begin reading, unless it is refused or has been ended. Call once.
  void Start();

  // End with `why` unless everything has come.
  void End(const absl::Status& why);

  // The same when no message has come since `latest`.
  void EndIfIdle(Clock::time_point latest, const absl::Status& why);

 private:
  enum class Stage : std::uint8_t { kReceiving, kLoading, kDone };

  void OnReadDone(bool ok) override;
  void OnDone() override {
    uploads_->Close(this);
    {
      // Who called Finish may hold it still.
      const std::lock_guard lock(mutex_);
    }
    delete this;
  }

  [[nodiscard]] absl::Status CheckRoom() const;
  [[nodiscard]] absl::Status TakeMessage();
  [[nodiscard]] absl::Status Take(const v1::UploadModuleRequest& message);
  [[nodiscard]] absl::Status TakeHeader(const v1::UploadModuleHeader& header);
  [[nodiscard]] absl::Status TakeEnd();
  [[nodiscard]] absl::Status Load();
  void Complete(const absl::Status& status);  // with the mutex held

  ModuleUploads* const uploads_;
  const ModuleUploads::Parts& parts_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const CallTracker::Token token_;
  grpc::ByteBuffer incoming_;

  std::mutex mutex_;  // guards all below; but loading, nobody else uses them
  Visit visit_;
  Stage stage_ = Stage::kReceiving;
  Clock::time_point last_message_ = Clock::now();
  UploadOptions upload_;
  std::unique_ptr<UploadBuffer> file_;  // once there is a header
};

absl::Status ModuleUploadReactor::CheckRoom() const {
  ATTENTION_RETURN_IF_ERROR(parts_.door.CheckServing());
  if (uploads_->num_uploads_.load() <= ModuleUploads::kMaxUploads) {
    return absl::OkStatus();
  }
  return OverloadError(FormatText("{} uploads are under way already",
                                  ModuleUploads::kMaxUploads));
}

void ModuleUploadReactor::Start() {
  const std::lock_guard lock(mutex_);
  if (stage_ != Stage::kReceiving) return;
  if (const absl::Status room = CheckRoom(); !room.ok()) return Complete(room);
  StartRead(&incoming_);
}

void ModuleUploadReactor::End(const absl::Status& why) {
  EndIfIdle(Clock::time_point::max(), why);
}

void ModuleUploadReactor::EndIfIdle(Clock::time_point latest,
                                    const absl::Status& why) {
  const std::lock_guard lock(mutex_);
  if (stage_ != Stage::kReceiving || last_message_ > latest) return;
  if (file_ == nullptr) return Complete(why);
  Complete(InModule(upload_.name, why));
}

void ModuleUploadReactor::OnReadDone(bool ok) {
  const std::lock_guard lock(mutex_);
  if (stage_ != Stage::kReceiving) return;  // ended while this was under way
  const absl::Status taken =
      CatchBadAlloc([&] { return ok ? TakeMessage() : TakeEnd(); });
  if (!taken.ok()) return Complete(taken);
  if (ok) StartRead(&incoming_);
}

absl::Status ModuleUploadReactor::TakeMessage() {
  visit_.AddMessage(incoming_.Length());
  v1::UploadModuleRequest message;
  ATTENTION_RETURN_IF_ERROR(
      ParseMessage(&incoming_, kMaxUploadMessageBytes, &message));
  ATTENTION_RETURN_IF_ERROR(Take(message));
  last_message_ = Clock::now();
  return absl::OkStatus();
}

absl::Status ModuleUploadReactor::Take(const v1::UploadModuleRequest& message) {
  switch (message.part_case()) {
    case v1::UploadModuleRequest::kHeader:
      return TakeHeader(message.header());
    case v1::UploadModuleRequest::kData:
      if (file_ == nullptr) {
        return absl::InvalidArgumentError(
            "the upload's first message has data, expected a header");
      }
      return InModule(upload_.name, file_->Append(message.data()));
    case v1::UploadModuleRequest::PART_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "a message of the upload is empty, expected a header or data");
}

absl::Status ModuleUploadReactor::TakeHeader(
    const v1::UploadModuleHeader& header) {
  if (file_ != nullptr) {
    return absl::InvalidArgumentError(
        "the upload has a second header, expected data");
  }
  if (header.ByteSizeLong() > kMaxManagementBytes) {
    return absl::InvalidArgumentError(
        FormatText("the upload's header has {} bytes, expected at most {}",
                   header.ByteSizeLong(), kMaxManagementBytes));
  }
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(header.name()));
  visit_.record().module = header.name();
  absl::StatusOr<UploadOptions> upload = DecodeUploadHeader(header);
  if (!upload.ok()) return InModule(header.name(), upload.status());
  ATTENTION_RETURN_IF_ERROR(parts_.manager.CheckUpload(*upload));
  upload_ = *std::move(upload);
  ATTENTION_ASSIGN_OR_RETURN(AdmissionController::Reservation reservation,
                             uploads_->budget_.Reserve(0));
  file_ = std::make_unique<UploadBuffer>(parts_.max_module_bytes,
                                         std::move(reservation));
  return absl::OkStatus();
}

// The client has sent everything, or is gone.
absl::Status ModuleUploadReactor::TakeEnd() {
  if (context_->IsCancelled()) return StoppedError();
  if (file_ == nullptr) {
    return absl::InvalidArgumentError(
        "the upload has no messages, expected one with a header first");
  }
  const bool posted = parts_.work_thread.TryPost([this] {
    const absl::Status loaded = CatchBadAlloc([this] { return Load(); });
    const std::lock_guard lock(mutex_);
    Complete(loaded);
  });
  if (!posted) return TooManyLoadsError();
  stage_ = Stage::kLoading;
  return absl::OkStatus();
}

absl::Status ModuleUploadReactor::Load() {
  // Nobody waits for an upload whose client has gone meanwhile.
  if (context_->IsCancelled()) return StoppedError();
  ATTENTION_ASSIGN_OR_RETURN(
      const ModuleDescription loaded,
      parts_.manager.LoadUpload(upload_, file_->bytes()));
  v1::UploadModuleResponse response;
  *response.mutable_module() = EncodeModuleDescription(loaded);
  *response_ = SerializeMessage(response);
  visit_.record().response_bytes = response_->Length();
  return absl::OkStatus();
}

void ModuleUploadReactor::Complete(const absl::Status& status) {
  stage_ = Stage::kDone;
  // Here and not when gRPC is done with the call, which may be long after the
  // client has seen its end and started another.
  file_.reset();
  uploads_->num_uploads_.fetch_sub(1);
  Finish(visit_.Leave(status));
}

grpc::ServerReadReactor<grpc::ByteBuffer>* ModuleUploads::Open(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  auto* upload = new ModuleUploadReactor(this, context, response);
  const absl::Status opened = CatchBadAlloc([&] {
    const std::lock_guard lock(mutex_);
    open_.insert(upload);
    return absl::OkStatus();
  });
  if (!opened.ok()) upload->End(opened);
  upload->Start();  // looks at the state after it can be found by Drain
  return upload;
}

void ModuleUploads::Drain() {
  const std::lock_guard lock(mutex_);
  for (ModuleUploadReactor* upload : open_) {
    upload->End(absl::UnavailableError("the server is shutting down"));
  }
}

void ModuleUploads::EndIdle(std::chrono::milliseconds at_least) {
  const auto latest = ModuleUploadReactor::Clock::now() - at_least;
  const absl::Status why = absl::DeadlineExceededError(FormatText(
      "no message of the upload came for {} s, expected the next one sooner",
      std::chrono::duration<double>(at_least).count()));
  const std::lock_guard lock(mutex_);
  for (ModuleUploadReactor* upload : open_) upload->EndIfIdle(latest, why);
}

void ModuleUploads::Close(ModuleUploadReactor* upload) {
  const std::lock_guard lock(mutex_);
  open_.erase(upload);
}

}  // namespace attention
