"""What a vision-language model looked at, for every word of its answer."""
