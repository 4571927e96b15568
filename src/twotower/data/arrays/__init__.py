"""Arrays that everything above shares: ragged lists, ranked answers, exact top-k."""
