"""Record batches (format v2): header, records, compression, CRC. No I/O."""
