"""The live service: HTTP over a recommender that is kept in memory."""
