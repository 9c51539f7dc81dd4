"""What the edge does by itself: finishing what a crashed process began, expiring checkouts, deleting old ones."""
