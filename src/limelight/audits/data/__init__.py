"""What an audit is given: photos, what is known of them, and the folder that it writes."""
