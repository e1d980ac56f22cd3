"""Generated from proto/corella/v1 by `make proto`; do not edit."""
