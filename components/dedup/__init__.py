"""Drop exact and near duplicates; keep the best copy of each cluster."""
