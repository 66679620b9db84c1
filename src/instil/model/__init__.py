"""Models: everything that touches torch, up to but not including the training loop.

    resolve     a tokenizer as transformers would set it up, for rooms without torch (imports no torch itself)
    load        a causal language model from a folder or the hub, or one sentence why not; embedding rows: new ones, untrained ones
    adapters    LoRA in peft's format
    layout      a row's tree as attention needs it
    attention   tree attention through transformers' attention interface; a loop over nodes on CPU
    long        a long node on a CPU, a piece of its queries at a time
    tails       the ends of a tree that no prediction needs are left out
    blocks      the same rule on CUDA: FlexAttention and flash attention
    norms       RMSNorm in one piece, on a CPU under autocast
    rotary      rotary positions in one piece, likewise
    lora        LoRA's layers in one piece under autocast
    last        the last layer's MLP only where something is predicted
    head        decoder and head apart; cross-entropy in chunks, its gradient computed on the way
    step        the loss of a row; log-likelihoods of paths
    shard       weights divided among ranks (FSDP2)
    probe       is a packed example computed as it is alone? asked of the real model before a run
    generate    batched and streaming generation

The way of a step: `step.row_loss` -> `tails.without_tails` -> `layout.lay_out_tree` -> `head.hidden_states` (decoder, whose layers call
`attention.tree_attention_forward`) -> `head.chunked_cross_entropy`.
"""
