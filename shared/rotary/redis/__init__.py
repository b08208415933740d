"""Redis holds the projections: facts, definition documents and the fence. All of it can be rebuilt."""
