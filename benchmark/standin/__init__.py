"""Stand-ins for the gated datasets: photographs under free licences, converted back to RAW, in the real layout."""
