"""`python -m instil`, and so `torchrun -m instil train recipe.yaml`."""

from instil.cli import main

main()
