"""What XLA's CPU compiler is slow at, computed by other operations."""
