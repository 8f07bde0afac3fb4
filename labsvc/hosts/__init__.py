"""The services that a lab hosts, a module for each kind."""
