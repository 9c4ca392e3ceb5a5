"""The measurements of ./dev/bench."""
