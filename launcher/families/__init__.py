"""Which encoders share code and names, without torch: one specification a family."""
