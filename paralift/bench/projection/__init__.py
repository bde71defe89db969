"""Weak scaling to many ranks, projected: the cost model of plans beside a simulation of the same schedule."""
