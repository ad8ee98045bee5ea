"""What every process here needs of its machine, without torch, SQL or HTTP: files, documents, priority, helpers."""
