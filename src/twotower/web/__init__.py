"""The HTTP service: routes, middleware and the studio page, over a recommender held in memory."""
