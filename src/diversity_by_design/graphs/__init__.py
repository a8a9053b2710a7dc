"""Graphs of genes: from gene ontology annotations, from co-expression, from any table of edges."""
