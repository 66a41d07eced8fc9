// Stands in for ROS 2's header of this name.
#pragma once

#include <istream>
#include <memory>
#include <ostream>

namespace std_msgs::msg {

struct Float32 {
  using ConstSharedPtr = std::shared_ptr<const Float32>;
  float data{};
};

inline std::istream& operator>>(std::istream& in, Float32& message) { return in >> message.data; }
inline std::ostream& operator<<(std::ostream& out, const Float32& message) { return out << message.data; }

}  // namespace std_msgs::msg
