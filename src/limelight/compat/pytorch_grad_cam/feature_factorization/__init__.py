"""Deep feature factorization, at the peer's path."""
