"""Neural collaborative filtering: NCF over all features, GMF, MLP and NeuMF as published."""
