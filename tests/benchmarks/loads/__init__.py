"""What runs in processes of its own: each module has a spec and a function that turns it into figures."""
