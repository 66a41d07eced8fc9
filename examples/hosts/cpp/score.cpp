// A planner's host in C++: score 127.0.0.1:50051
//
// Scores 64 plans twice in one scene over one stream, then asks for something wrong. Prints the three answers as JSON.
// The scene and the plans stand for what a camera and a planner would give.

#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "worldforge/jepa/v1/jepa.grpc.pb.h"

namespace jepa = worldforge::jepa::v1;

constexpr int kSamples = 64, kHorizon = 6, kSide = 64;

// A Tensor is a dtype, a shape, and the elements in row-major order, little-endian: as arrays are on these CPUs.
template <typename T>
void Fill(jepa::Tensor* tensor, jepa::DataType dtype, std::initializer_list<int64_t> shape, const std::vector<T>& array) {
  tensor->set_dtype(dtype);
  tensor->mutable_shape()->Assign(shape.begin(), shape.end());
  tensor->set_data(array.data(), array.size() * sizeof(T));
}

void FillObservation(jepa::Observation* observation, const jepa::Model& model, int shift, float x, float y) {
  std::vector<uint8_t> frame(3 * kSide * kSide);
  for (size_t i = 0; i < frame.size(); ++i) frame[i] = (i + shift) % 256;
  Fill(observation->mutable_visual(), jepa::DATA_TYPE_UINT8, {1, 1, 3, kSide, kSide}, frame);
  if (model.has_proprio())
    Fill(observation->mutable_proprio(), jepa::DATA_TYPE_FLOAT32, {1, 1, model.proprio_dim()}, std::vector<float>{x, y});
}

void FillCandidates(jepa::Tensor* tensor, int64_t action_dim) {
  std::vector<float> plans(kSamples * kHorizon * action_dim);
  for (size_t i = 0; i < plans.size(); ++i) plans[i] = (static_cast<int>(i * 37 % 64) - 32) / 16.0f;
  Fill(tensor, jepa::DATA_TYPE_FLOAT32, {1, kSamples, kHorizon, action_dim}, plans);
}

// The environment has the CA of a server with TLS, and a token, where the server asks for them.
std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::shared_ptr<grpc::ChannelCredentials> Transport() {
  const std::string cacert = Environment("WORLDFORGE_JEPA_CACERT");
  if (cacert.empty()) return grpc::InsecureChannelCredentials();
  std::ifstream file(cacert);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
  return grpc::SslCredentials(options);
}

void Prepare(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  const std::string token = Environment("WORLDFORGE_JEPA_TOKEN");
  if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
}

// What fails outside a stream's answers: unreachable, too late, or a unary call refused.
int Failed(const grpc::Status& status) {
  std::cerr << status.error_code() << ": " << status.error_message() << std::endl;
  return 1;
}

std::string Json(const jepa::ScoreStreamResponse& response) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(response, &text, options).ok()) return "null";
  return text;
}

int main(int count, char** arguments) {
  const std::string target = count > 1 ? arguments[1] : "127.0.0.1:50051";
  auto stub = jepa::WorldModelService::NewStub(grpc::CreateChannel(target, Transport()));

  grpc::ClientContext asking;
  Prepare(&asking);
  jepa::GetModelResponse published;
  if (auto status = stub->GetModel(&asking, {}, &published); !status.ok()) return Failed(status);
  const jepa::Model& model = published.model();

  grpc::ClientContext planning;
  Prepare(&planning);
  auto stream = stub->ScoreStream(&planning);
  stream->WaitForInitialMetadata();  // the server accepts the stream before a message is sent
  jepa::ScoreStreamRequest requests[3];
  FillObservation(requests[0].mutable_context()->mutable_observation(), model, 0, 12, 32);
  FillObservation(requests[0].mutable_context()->mutable_goal(), model, 100, 48, 32);
  FillCandidates(requests[0].mutable_action_candidates(), model.action_dim());
  FillCandidates(requests[1].mutable_action_candidates(), model.action_dim());  // the scene is there already
  FillCandidates(requests[2].mutable_action_candidates(), model.action_dim() + 1);  // refused; the stream goes on
  jepa::ScoreStreamResponse answers[3];
  for (int i = 0; i < 3; ++i)
    if (!stream->Write(requests[i]) || !stream->Read(&answers[i])) return Failed(stream->Finish());  // one answer each
  stream->WritesDone();
  if (auto status = stream->Finish(); !status.ok()) return Failed(status);

  std::cout << "[" << Json(answers[0]) << "," << Json(answers[1]) << "," << Json(answers[2]) << "]" << std::endl;
}
