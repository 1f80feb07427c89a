"""What is learnt from: samples, annotations, formats, the object store, the ledger and dataset versions."""
