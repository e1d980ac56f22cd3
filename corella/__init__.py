"""What a user of Corella installs: client, command line, and the generated contracts in `corella.v1`."""
