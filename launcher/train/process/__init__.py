"""The processes of a training: ranks, stop requests, the one writer, events."""
