# Stands in for ROS 2's own.
function(ament_package)
endfunction()
