"""From a user to an answer: fallback path, stages, filters, reasons."""
