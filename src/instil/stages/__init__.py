"""The only place where rooms meet: prepare the data, tune, look, talk. Each stage is a short function over the rooms below."""
