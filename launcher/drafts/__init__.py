"""First recipes and profiles, made from what people have: data, a cluster, the settings of another tool. Each guess is said."""
