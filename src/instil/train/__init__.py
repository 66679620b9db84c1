"""The loop exists once. What differs between methods is handed to it.

loop.py         the loop: steps, held-out loss, checkpoints, stopping
objectives.py   objective(model, row) -> Loss; supervised fine-tuning; NEFTune's noise
optimizer.py    AdamW, the learning rate of a step
checkpoint.py   save, verify, load; checkpoint_shards.py: where every rank writes its share
ahead.py        the next step's rows, laid out while this one is computed
records.py      metrics.jsonl, TensorBoard, checkpoints, display: where the loop's reports go
distributed.py  ranks that sum what they computed
parallel.py     whether they divide the weights among them
watch.py        a rank that dies, hangs or fails ends the run with its reason
display.py      what people see while it runs
memory.py       precision, and whether activations must be recomputed
signals.py      Ctrl-C and SIGTERM end in a checkpoint
"""
