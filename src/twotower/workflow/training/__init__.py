"""Train the stages of a recommender and measure them."""
