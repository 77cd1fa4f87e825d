"""What runs changed: figures, lineage, judgements by scorers and by people, and models as folders."""
