"""The mathematics of fMRLRec: layers, recurrence, network, losses. Imports nothing of RecBole."""
