"""The rows of an audit: a network makes them from photos, and they are kept in whole files."""
