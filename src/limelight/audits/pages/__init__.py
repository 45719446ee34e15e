"""What people get of an audit: the report, lists of photos, and the difference of two audits."""
