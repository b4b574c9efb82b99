"""Paper B, "Microscopic imprints of learned solutions in adaptive resistor networks", figure by figure."""
