"""Consumer groups as pure state machines: no Trio, no clock, no I/O."""
