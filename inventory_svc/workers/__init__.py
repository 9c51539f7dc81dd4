"""What inventory does by itself: expiring lapsed holds, deleting what is past its retention."""
