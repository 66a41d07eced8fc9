// The single-threaded executor of rclcpp's stand-in, over stdin and stdout: see rclcpp.hpp.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace rclcpp {

struct SubscriptionBase {
  using SharedPtr = std::shared_ptr<SubscriptionBase>;
  virtual ~SubscriptionBase() = default;
  std::string topic;
  size_t depth{};
  std::function<std::function<void()>(std::istream&)> receive;  // reads a message; returns the callback's call
};

struct TimerBase {
  using SharedPtr = std::shared_ptr<TimerBase>;
  std::chrono::steady_clock::time_point due;
  std::chrono::nanoseconds period{};
  std::function<void()> callback;
};

namespace stub {

inline std::map<std::string, std::string> parameters;
inline std::atomic<bool> running{false};

// One line at a time, from any thread.
inline void Print(const std::string& line) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  std::cout << line << std::endl;
}

class Executor {
 public:
  std::vector<SubscriptionBase::SharedPtr> subscriptions;
  std::vector<TimerBase::SharedPtr> timers;

  void Spin() {
    std::thread reader([this] { Read(); });
    while (auto callback = Next()) callback();
    reader.join();
  }

 private:
  struct Waiting {
    SubscriptionBase::SharedPtr subscription;
    std::function<void()> call;
  };

  void Read() {
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream in(line);
      std::string topic;
      in >> topic;
      for (const auto& subscription : subscriptions)
        if (subscription->topic == topic) Put({subscription, subscription->receive(in)});
    }
    running = false;
    std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_all();
  }

  // Drops the subscription's oldest message where its queue is full.
  void Put(Waiting waiting) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto same = [&](const Waiting& other) { return other.subscription == waiting.subscription; };
    if (static_cast<size_t>(std::count_if(queue_.begin(), queue_.end(), same)) >= waiting.subscription->depth)
      queue_.erase(std::find_if(queue_.begin(), queue_.end(), same));
    queue_.push_back(std::move(waiting));
    changed_.notify_all();
  }

  // Waits for a timer that is due or for a message; empty after the shutdown.
  std::function<void()> Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (running) {
      const auto now = std::chrono::steady_clock::now();
      auto soonest = now + std::chrono::hours(1);
      for (const auto& timer : timers) {
        if (timer->due <= now) {
          timer->due = std::max(timer->due + timer->period, now);
          return [timer] { Ran("timer", timer->callback); };
        }
        soonest = std::min(soonest, timer->due);
      }
      if (!queue_.empty()) {
        const Waiting first = std::move(queue_.front());
        queue_.pop_front();
        return [first] { Ran(first.subscription->topic, first.call); };
      }
      changed_.wait_until(lock, soonest);
    }
    return nullptr;
  }

  static void Ran(const std::string& name, const std::function<void()>& callback) {
    callback();
    Print("{\"ran\": \"" + name + "\"}");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> queue_;
};

inline Executor executor;

}  // namespace stub

}  // namespace rclcpp
