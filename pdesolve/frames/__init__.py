"""Frames: coordinates in which a solution is smooth, and liftings that meet its conditions exactly."""
