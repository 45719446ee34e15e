"""What stands between a request and its answer: the guard, the queue, refusals, counters."""
