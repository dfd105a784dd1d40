"""Which training scripts are recorded, and how far does each come? Scripts by family, and what is seen of each."""
