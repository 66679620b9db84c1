"""What a run needs, before any weight is loaded: parameters, memory, time, money. Counted from a model's config alone; no torch."""
