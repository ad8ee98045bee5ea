"""What a person imports and types: the Python client, the `normlab` command, the local stack."""
