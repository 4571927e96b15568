"""Features as declared and as fitted: vocabularies, statistics, encoded arrays."""
