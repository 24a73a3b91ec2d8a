"""Settings of ours by the names that other tools give them."""

# What other tools call a setting of ours.
_FAMILIAR = {
    "learning_rate": "train.lr, or --lr",
    "epochs": "train.epochs, or eval.epochs for fine-tuning on tasks",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.tokens (training is measured in tokens)",
    "steps": "train.tokens (training is measured in tokens)",
    "batch_size": "train.batch_tokens (a batch is measured in tokens)",
    "per_device_train_batch_size": "train.micro_tokens (a batch is measured in tokens)",
    "gradient_accumulation_steps": "train.batch_tokens over train.micro_tokens",
    "max_length": "train.context, or adapt.length for a conversion",
    "max_seq_length": "train.context, or adapt.length for a conversion",
    "block_size": "train.context",
    "mlm_probability": "objective.mask_rate",
    "warmup_ratio": "train.warmup",
    "warmup_steps": "train.warmup (a share of the tokens)",
    "lr_scheduler_type": "train.schedule",
    "max_grad_norm": "train.clip",
    "save_steps": "train.checkpoint_tokens",
    "save_total_limit": "train.keep_checkpoints",
    "eval_steps": "train.eval_tokens",
    "report_to": "train.trackers",
    "attention_window": "adapt.window",
    "rope_theta": "adapt.theta",
    "vocab_size": "adapt.new_pieces",
    "fp16": "train.precision",
    "bf16": "train.precision",
    "output_dir": "--out",
    "model_name_or_path": "--base",
    "model": "--base",
    "language": "--lang",
    "train_file": "--corpus",
}
# The same of an evaluation, which fine-tunes.
_FAMILIAR_IN_EVALUATE = {
    "epochs": "eval.epochs",
    "num_train_epochs": "eval.epochs",
    "lr": "eval.lr",
    "learning_rate": "eval.lr",
    "head_lr": "eval.head_lr",
    "batch_size": "eval.batch_documents",
    "per_device_train_batch_size": "eval.batch_documents",
}


def familiar(option: str, command: str = "") -> str:
    """The setting that a flag of another tool (--learning-rate) stands for; "" for an unknown one."""
    name = option.lstrip("-").replace("-", "_")
    if command != "evaluate":
        return _FAMILIAR.get(name, "")
    flag = _FAMILIAR.get(name, "")  # of the settings, those of training mean nothing there
    return _FAMILIAR_IN_EVALUATE.get(name, flag if flag.startswith("--") and flag != "--base" else "")
