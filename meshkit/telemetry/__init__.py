"""What a process says about itself: metrics, traces, and the admin port that shows them."""
