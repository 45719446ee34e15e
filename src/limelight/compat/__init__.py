"""For code that was written for other libraries: drop-ins, and the migration of scripts."""
