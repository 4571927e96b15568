"""What the event store asks of any database: groups of writes, counters, deadlines, types."""
