"""The first-party plugins: they import `harness` as anyone's would, and register through entry points."""
