"""Audits of data sets: where a network looks on each photo, whether it should, and what to mend."""
