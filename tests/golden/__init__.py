"""What each release has stored, and how it is written."""
