"""Where a hardened classifier runs: behind a web service."""
