"""The loop exists once. What differs between methods is handed to it.

loop.py         the loop: steps, held-out loss, checkpoints, stopping
objectives.py   objective(model, row) -> Loss; supervised fine-tuning; NEFTune's noise
optimizer.py    AdamW, the learning rate of a step
checkpoint.py   save, verify, load
records.py      metrics.jsonl, TensorBoard, checkpoints, display: where the loop's reports go
distributed.py  ranks that sum what they computed
display.py      what people see while it runs
memory.py       precision, memory that is free, and whether activations must be recomputed
limits.py       what control groups leave a process
signals.py      Ctrl-C and SIGTERM end in a checkpoint
"""
