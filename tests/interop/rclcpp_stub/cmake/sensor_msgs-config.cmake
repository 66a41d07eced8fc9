# The headers are those of rclcpp-config.cmake.
