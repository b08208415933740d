"""Redis holds the projections: facts, positions and definition documents. All of it can be rebuilt."""
