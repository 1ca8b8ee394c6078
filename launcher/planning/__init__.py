"""From a recipe to a plan and its files: estimate, throughput, conflicts, rendering."""
