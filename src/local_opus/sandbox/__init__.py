"""The sandbox of the running server: what it says itself, what the kernel sees, what spoils it."""
