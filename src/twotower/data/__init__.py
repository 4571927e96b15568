"""Tables to tensors: readers, schema, vocabularies, splits, batches, negatives."""
