"""What training with keras_kd costs, measured; nothing here is part of the package."""
