"""The modules of the grad-cam library 1.5.7, over limelight."""
