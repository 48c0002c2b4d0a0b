"""What makes the work fast and visible: folding, precision, memory, progress. It knows no plug-in."""
