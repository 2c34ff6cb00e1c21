"""A shop's service desk: an executable domain with a policy, users and procedural tasks."""
