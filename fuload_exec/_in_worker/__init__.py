"""What runs in a Python worker, and only there."""
