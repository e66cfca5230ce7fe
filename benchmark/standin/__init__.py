"""Stand-ins for the gated datasets: photographs under free licences, unprocessed to RAW, in the real layout."""
