"""What all tests share: no hub, one thread a worker, no deadline of hypothesis, which a loaded machine would miss."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub, which reads it once
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two workers with two threads each wait for each other

from hypothesis import settings

settings.register_profile("few", deadline=None, max_examples=10)
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")
