"""Data: the embedded scenes, and what MMSegmentation and MMDetection lack."""
