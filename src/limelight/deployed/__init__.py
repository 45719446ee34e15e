"""Explain with a file that limelight exported: onnxruntime and numpy, without torch."""
