"""The servicers: convert, call, convert back."""
