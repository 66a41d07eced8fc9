// Stands in for ROS 2's header of this name.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace std_msgs::msg {

struct MultiArrayDimension {
  std::string label;
  uint32_t size{}, stride{};
};

struct MultiArrayLayout {
  std::vector<MultiArrayDimension> dim;
  uint32_t data_offset{};
};

struct Float32MultiArray {
  using ConstSharedPtr = std::shared_ptr<const Float32MultiArray>;
  MultiArrayLayout layout;
  std::vector<float> data;
};

inline std::istream& operator>>(std::istream& in, Float32MultiArray& message) {
  for (float value; in >> value;) message.data.push_back(value);
  return in;
}

inline std::ostream& operator<<(std::ostream& out, const Float32MultiArray& message) {
  out << "{\"layout\": [";
  const char* comma = "";
  for (const auto& dim : message.layout.dim) {
    out << comma << "[\"" << dim.label << "\", " << dim.size << ", " << dim.stride << "]";
    comma = ", ";
  }
  out << "], \"data\": [";
  comma = "";
  for (float value : message.data) {
    out << comma << value;
    comma = ", ";
  }
  return out << "]}";
}

}  // namespace std_msgs::msg
