// Stands in for ROS 2's header of this name.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <string>
#include <vector>

namespace sensor_msgs::msg {

struct Image {
  using ConstSharedPtr = std::shared_ptr<const Image>;
  uint32_t height{}, width{};
  std::string encoding;
  uint8_t is_bigendian{};
  uint32_t step{};
  std::vector<uint8_t> data;
};

// height width encoding step data, the last in hexadecimal
inline std::istream& operator>>(std::istream& in, Image& message) {
  std::string data;
  in >> message.height >> message.width >> message.encoding >> message.step >> data;
  for (size_t i = 0; i + 1 < data.size(); i += 2)
    message.data.push_back(static_cast<uint8_t>(std::stoi(data.substr(i, 2), nullptr, 16)));
  return in;
}

}  // namespace sensor_msgs::msg
