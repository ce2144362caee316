"""What flows through a float network on the calibration images."""
