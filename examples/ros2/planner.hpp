// Plans on a worldforge-jepa server without ever blocking its caller: gRPC's callback API, one call at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "error.pb.h"
#include "worldforge/jepa/v1/jepa.grpc.pb.h"

namespace jepa = worldforge::jepa::v1;

// The environment has the CA of a server with TLS, and a token. A parameter could be read by every node.
inline std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

inline std::shared_ptr<grpc::ChannelCredentials> Transport() {
  const std::string cacert = Environment("WORLDFORGE_JEPA_CACERT");
  if (cacert.empty()) return grpc::InsecureChannelCredentials();
  std::ifstream file(cacert);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
  return grpc::SslCredentials(options);
}

inline std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);  // a robot cannot wait out gRPC's two minutes
  return grpc::CreateCustomChannel(target, Transport(), arguments);
}

// The reason of a refused call, as in docs/errors.md; empty where gRPC itself failed.
inline std::string Reason(const grpc::Status& status) {
  worldforge::jepa::ros::Status details;
  worldforge::jepa::ros::ErrorInfo info;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details())
    if (detail.type_url() == "type.googleapis.com/google.rpc.ErrorInfo") info.ParseFromString(detail.value());
  return info.reason();
}

class Planner {
 public:
  // A plan's last response, if any came, and the model it was made with. Runs on a thread of gRPC's.
  using Done = std::function<void(const grpc::Status&, const jepa::Model&, const jepa::PlanResponse&)>;

  Planner(const std::string& target, std::chrono::milliseconds deadline, Done done)
      : stub_(jepa::WorldModelService::NewStub(Connect(target))), deadline_(deadline), done_(std::move(done)) {}

  // Cancels the call in flight and waits until `done` has returned.
  ~Planner() {
    if (auto call = InFlight()) {
      call->asking.TryCancel();
      call->planning.TryCancel();  // one that has not begun is cancelled when it does
    }
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return !call_; });
  }

  bool Busy() { return InFlight() != nullptr; }

  // Asks for the model, then for a plan, and returns at once. Only while not busy.
  void Start(jepa::PlanRequest request) {
    auto call = std::make_shared<Call>(*this, std::move(request));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      call_ = call;
    }
    stub_->async()->GetModel(&call->asking, &call->question, &call->published, [call](grpc::Status status) {
      status.ok() ? call->Plan() : call->OnDone(status);
    });
  }

 private:
  // All that gRPC reads and writes during a call.
  struct Call : grpc::ClientReadReactor<jepa::PlanResponse> {
    Call(Planner& planner, jepa::PlanRequest plan) : owner(planner), request(std::move(plan)) {
      const auto end = std::chrono::system_clock::now() + owner.deadline_;  // of both together
      const std::string token = Environment("WORLDFORGE_JEPA_TOKEN");
      for (auto* context : {&asking, &planning}) {
        context->set_deadline(end);
        if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
      }
      question.set_model(request.model());
    }

    void Plan() {
      if (published.model().normalization().action_std().empty())
        return OnDone({grpc::StatusCode::FAILED_PRECONDITION, "the model publishes no statistics of its actions"});
      owner.stub_->async()->Plan(&planning, &request, this);
      StartRead(&read);
      StartCall();
    }

    void OnReadDone(bool ok) override {
      if (!ok) return;
      last.Swap(&read);
      StartRead(&read);
    }

    void OnDone(const grpc::Status& status) override { owner.Finish(status); }  // nothing of this is used after it

    Planner& owner;
    grpc::ClientContext asking, planning;
    jepa::GetModelRequest question;
    jepa::GetModelResponse published;
    jepa::PlanRequest request;
    jepa::PlanResponse read, last;
  };

  std::shared_ptr<Call> InFlight() {
    std::lock_guard<std::mutex> lock(mutex_);
    return call_;
  }

  void Finish(const grpc::Status& status) noexcept {
    const auto call = InFlight();
    done_(status, call->published.model(), call->last);
    std::lock_guard<std::mutex> lock(mutex_);
    call_.reset();
    idle_.notify_all();  // under the lock: the destructor may run as soon as it is released
  }

  std::unique_ptr<jepa::WorldModelService::Stub> stub_;
  const std::chrono::milliseconds deadline_;
  const Done done_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::shared_ptr<Call> call_;
};
