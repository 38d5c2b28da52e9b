"""Where workers of compare and tune run: devices of this machine, jobs of a cluster by submitit."""
