"""The mathematics of fMRLRec: layers, recurrence, network, losses. Imports nothing of RecBole.

`plain` has the whole model on one page; the other modules are its fast form.
"""
