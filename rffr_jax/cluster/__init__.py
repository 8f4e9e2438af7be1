"""Many devices and many processes: launch, sharding, agreement, memory, signals."""
