// Stands in for ROS 2's header of this name: the part of rclcpp that examples/ros2 uses, over stdin and stdout.
//
// A line "TOPIC MESSAGE" on stdin is a message that comes in; the end of stdin is the shutdown. Each message that is
// published, and each callback that has run, is a line of JSON on stdout; the log is on stderr. All callbacks run in
// one thread, one after the other, as in rclcpp's single-threaded executor.
#pragma once

#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "executor.hpp"

namespace rclcpp {

class QoS {
 public:
  QoS(size_t depth) : depth_(depth) {}
  QoS& keep_last(size_t depth) {
    depth_ = depth;
    return *this;
  }
  size_t depth() const { return depth_; }

 private:
  size_t depth_;
};

class SensorDataQoS : public QoS {
 public:
  SensorDataQoS() : QoS(5) {}
};

template <typename Message>
struct Subscription : SubscriptionBase {
  using SharedPtr = std::shared_ptr<Subscription>;
};

template <typename Message>
class Publisher {
 public:
  using SharedPtr = std::shared_ptr<Publisher>;
  explicit Publisher(std::string topic) : topic_(std::move(topic)) {}

  void publish(const Message& message) {
    std::ostringstream out;
    out.precision(std::numeric_limits<float>::max_digits10);
    out << "{\"topic\": \"" << topic_ << "\", \"message\": " << message << "}";
    stub::Print(out.str());
  }

 private:
  std::string topic_;
};

struct Logger {
  std::string name;
};

struct Clock {
  using SharedPtr = std::shared_ptr<Clock>;
  std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }
};

class Node {
 public:
  explicit Node(const std::string& name) : logger_{name} {}
  virtual ~Node() = default;

  Logger get_logger() const { return logger_; }
  Clock::SharedPtr get_clock() { return clock_; }

  template <typename Value>
  auto declare_parameter(const std::string& name, const Value& otherwise) {
    Value value = otherwise;
    if (const auto given = stub::parameters.find(name); given != stub::parameters.end())
      std::istringstream(given->second) >> value;
    return value;
  }

  template <typename Message>
  std::shared_ptr<Publisher<Message>> create_publisher(const std::string& topic, const QoS&) {
    return std::make_shared<Publisher<Message>>(topic);
  }

  template <typename Message, typename Callback>
  auto create_subscription(const std::string& topic, const QoS& qos, Callback callback) {
    auto subscription = std::make_shared<Subscription<Message>>();
    subscription->topic = topic;
    subscription->depth = qos.depth();
    subscription->receive = [callback](std::istream& in) {
      auto message = std::make_shared<Message>();
      in >> *message;
      return [callback, message] { callback(message); };
    };
    stub::executor.subscriptions.push_back(subscription);
    return subscription;
  }

  template <typename Rep, typename Period, typename Callback>
  TimerBase::SharedPtr create_wall_timer(std::chrono::duration<Rep, Period> period, Callback callback) {
    auto timer = std::make_shared<TimerBase>();
    timer->period = std::chrono::duration_cast<std::chrono::nanoseconds>(period);
    timer->due = std::chrono::steady_clock::now() + timer->period;
    timer->callback = callback;
    stub::executor.timers.push_back(timer);
    return timer;
  }

 private:
  Logger logger_;
  Clock::SharedPtr clock_ = std::make_shared<Clock>();
};

// Takes parameters as `--ros-args -p NAME:=VALUE`.
inline void init(int count, char** arguments) {
  for (int i = 1; i + 1 < count; ++i) {
    const std::string given = arguments[i + 1];
    if (const auto sign = given.find(":="); std::string(arguments[i]) == "-p" && sign != std::string::npos)
      stub::parameters[given.substr(0, sign)] = given.substr(sign + 2);
  }
  stub::running = true;
}

inline bool ok() { return stub::running; }
inline void shutdown() { stub::running = false; }
inline void spin(const std::shared_ptr<Node>&) { stub::executor.Spin(); }

}  // namespace rclcpp

// Writes the first line of a place in the code, then at most one in `quiet` milliseconds.
#define RCLCPP_WARN_THROTTLE(logger, clock, quiet, ...)                                        \
  do {                                                                                         \
    static std::chrono::steady_clock::time_point last;                                         \
    const auto now = (clock).now();                                                            \
    if (last.time_since_epoch().count() && now - last < std::chrono::milliseconds(quiet)) break; \
    last = now;                                                                                \
    std::fprintf(stderr, "[WARN] [%s]: ", (logger).name.c_str());                              \
    std::fprintf(stderr, __VA_ARGS__);                                                         \
    std::fputc('\n', stderr);                                                                  \
  } while (false)
