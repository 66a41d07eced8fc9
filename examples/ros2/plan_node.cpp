// A ROS 2 node that plans towards a goal image: ros2 run worldforge_jepa_ros plan_node --ros-args -p target:=HOST:PORT
//
// Subscribes to `image` and `goal/image` (rgb8 or bgr8), `state` and `goal/state` (the P values of proprio). Publishes
// `action`, the raw actions of the best plan's first step, and `score`, the plan's. It keeps the newest message of each
// topic and makes one plan at a time: a timer's tick that finds a call in flight does nothing.

#include <rclcpp/rclcpp.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <std_msgs/msg/float32.hpp>
#include <std_msgs/msg/float32_multi_array.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "planner.hpp"

using sensor_msgs::msg::Image;
using std_msgs::msg::Float32;
using std_msgs::msg::Float32MultiArray;

constexpr int kQuietMs = 5000;  // between two lines about the same

// Whether an image is one that FillFrame can read.
bool Readable(const Image& image) {
  return (image.encoding == "rgb8" || image.encoding == "bgr8") && image.step >= 3 * image.width &&
         image.data.size() >= size_t{image.step} * image.height;
}

// From rows of pixels, each padded to `step` bytes, to planes of red, green and blue: (1, 1, 3, height, width).
void FillFrame(jepa::Tensor* tensor, const Image& image) {
  tensor->set_dtype(jepa::DATA_TYPE_UINT8);
  for (int64_t size : {int64_t{1}, int64_t{1}, int64_t{3}, int64_t{image.height}, int64_t{image.width}})
    tensor->add_shape(size);
  std::string& planes = *tensor->mutable_data();
  planes.reserve(size_t{3} * image.height * image.width);
  for (size_t channel = 0; channel < 3; ++channel) {
    const size_t byte = image.encoding == "rgb8" ? channel : 2 - channel;
    for (size_t row = 0; row < image.height; ++row)
      for (size_t column = 0; column < image.width; ++column)
        planes.push_back(static_cast<char>(image.data[row * image.step + 3 * column + byte]));
  }
}

// (1, 1, P), in the environment's units; the server says so if the model takes another P.
void FillProprio(jepa::Tensor* tensor, const Float32MultiArray& state) {
  tensor->set_dtype(jepa::DATA_TYPE_FLOAT32);
  for (int64_t size : {int64_t{1}, int64_t{1}, static_cast<int64_t>(state.data.size())}) tensor->add_shape(size);
  tensor->set_data(state.data.data(), state.data.size() * sizeof(float));
}

// A plan's first step in the environment's units: (frameskip, raw action dim), in the order of execution.
Float32MultiArray FirstStep(const jepa::Model& model, const jepa::Tensor& plan) {
  const auto& statistics = model.normalization();
  const int raw = statistics.action_std_size(), packed = static_cast<int>(model.action_dim());
  Float32MultiArray action;
  action.data.resize(packed);
  std::copy_n(plan.data().data(), packed * sizeof(float), reinterpret_cast<char*>(action.data.data()));
  for (int i = 0; i < packed; ++i)
    action.data[i] = action.data[i] * statistics.action_std(i % raw) + statistics.action_mean(i % raw);
  action.layout.dim.resize(2);
  action.layout.dim[0].label = "step";
  action.layout.dim[0].size = packed / raw;
  action.layout.dim[0].stride = packed;
  action.layout.dim[1].label = "action";
  action.layout.dim[1].size = raw;
  action.layout.dim[1].stride = raw;
  return action;
}

class PlanNode : public rclcpp::Node {
 public:
  PlanNode()
      : Node("worldforge_jepa"),
        action_(create_publisher<Float32MultiArray>("action", 1)),
        score_(create_publisher<Float32>("score", 1)),
        planner_(declare_parameter<std::string>("target", "127.0.0.1:50051"),
                 std::chrono::milliseconds(static_cast<int64_t>(1000 * declare_parameter<double>("deadline", 1.0))),
                 [this](const auto& status, const auto& model, const auto& last) { Publish(status, model, last); }) {
    settings_.set_model(declare_parameter<std::string>("model", ""));
    settings_.set_seed(declare_parameter<int64_t>("seed", 0));
    settings_.mutable_planner()->set_horizon(declare_parameter<int64_t>("horizon", 6));
    settings_.mutable_planner()->set_samples(declare_parameter<int64_t>("samples", 300));
    settings_.mutable_planner()->set_iterations(declare_parameter<int64_t>("iterations", 10));
    Keep("image", image_);
    Keep("goal/image", goal_image_);
    Keep("state", state_);
    Keep("goal/state", goal_state_);
    const std::chrono::duration<double> period(1 / declare_parameter<double>("rate", 10.0));
    timer_ = create_wall_timer(period, [this] { Tick(); });
  }

 private:
  // Subscribes to a topic and keeps its last message.
  template <typename Message>
  void Keep(const std::string& topic, std::shared_ptr<const Message>& newest) {
    subscriptions_.push_back(create_subscription<Message>(
        topic, rclcpp::SensorDataQoS().keep_last(1),
        [&newest](std::shared_ptr<const Message> message) { newest = std::move(message); }));
  }

  void Tick() {
    if (planner_.Busy() || !image_ || !goal_image_) return;
    if (!Readable(*image_) || !Readable(*goal_image_)) {
      RCLCPP_WARN_THROTTLE(get_logger(), *get_clock(), kQuietMs, "images are rgb8 or bgr8, with whole rows");
      return;
    }
    jepa::PlanRequest request = settings_;
    Fill(request.mutable_context()->mutable_observation(), image_, state_);
    Fill(request.mutable_context()->mutable_goal(), goal_image_, goal_state_);
    image_.reset();  // no new image, no new action
    planner_.Start(std::move(request));
  }

  static void Fill(jepa::Observation* observation, const Image::ConstSharedPtr& image,
                   const Float32MultiArray::ConstSharedPtr& state) {
    FillFrame(observation->mutable_visual(), *image);
    if (state) FillProprio(observation->mutable_proprio(), *state);
  }

  // At the deadline the best plan so far counts.
  void Publish(const grpc::Status& status, const jepa::Model& model, const jepa::PlanResponse& last) {
    const bool late = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && last.iteration() > 0;
    if (status.ok() || late) {
      action_->publish(FirstStep(model, last.best_actions()));
      Float32 score;
      score.data = last.best_score();
      score_->publish(score);
    } else if (rclcpp::ok()) {
      RCLCPP_WARN_THROTTLE(get_logger(), *get_clock(), kQuietMs, "no plan: status %d %s: %s", status.error_code(),
                           Reason(status).c_str(), status.error_message().c_str());
    }
  }

  jepa::PlanRequest settings_;
  rclcpp::Publisher<Float32MultiArray>::SharedPtr action_;
  rclcpp::Publisher<Float32>::SharedPtr score_;
  Image::ConstSharedPtr image_, goal_image_;
  Float32MultiArray::ConstSharedPtr state_, goal_state_;
  std::vector<rclcpp::SubscriptionBase::SharedPtr> subscriptions_;
  rclcpp::TimerBase::SharedPtr timer_;
  Planner planner_;  // last, so that it ends first: its call publishes
};

int main(int count, char** arguments) {
  rclcpp::init(count, arguments);
  rclcpp::spin(std::make_shared<PlanNode>());
  rclcpp::shutdown();
}
