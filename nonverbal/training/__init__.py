"""The one training loop and what it needs. Knows neither corpora nor papers."""
