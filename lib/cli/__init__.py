"""What scripts share with their users: flags, messages, signals and exit codes."""
