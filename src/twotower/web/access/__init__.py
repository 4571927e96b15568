"""Who may ask, from where, and how often: keys, browsers, proxies, rates."""
