"""What a run is given before it starts: defaults, checks, estimates, frozen inputs, and what each run waits for."""
